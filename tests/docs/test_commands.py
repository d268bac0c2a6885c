"""Every command of the documentation is run, or is one that its program would take."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.chart import CHART, helm, tool
from tests.docs.blocks import OUTPUT, PAGES, Block, blocks, inline, name
from tests.docs.commands import OPTION, Around, Wrong, check, ours, recorded
from tests.docs.running import Place, clone, differences

COMMANDS = "sh"
REASONS = {
    "Installs software": {"pip", "make", "git"},
    "Needs a Kubernetes cluster": {"kubectl", "helm"},
    "Needs a microphone": {"anysound", "arecord"},
    "Needs a Ray cluster": {"anysound"},
    "Needs a Slurm cluster": {"sbatch"},
    "Needs several GPUs": {"torchrun"},
    "Needs Docker": {"docker"},
    "Needs the data sets": {"anysound", "make"},
    "Runs until you press Ctrl-C": {"anysound", "make"},
    "Trains a model": {"anysound"},
    "Takes minutes": {"make", "python", "anysound"},
    "With your own files": {"anysound", "curl"},
}
"""Why the tests do not run a block: its title on the site, and the programs of which it must call one."""
PROGRAMS = re.compile(r"^\s*(?:\$ )?(?:anysound|curl|docker|helm|kubectl|make|pip|python3?|torchrun) ", re.M)
CHECKED_INLINE = ("anysound", "helm", "kubectl", "make", "python")


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(tool(program) is None, reason=f"no {program}: tests/tools.sh brings it")


def skipped(block: Block) -> bool:
    return block.title != ""


def scripts(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == COMMANDS]


WITH_COMMANDS = [page for page in PAGES if scripts(page)]
RUN = [page for page in PAGES if any(not skipped(block) for block in scripts(page))]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_names_its_language(page: Path) -> None:
    for block in blocks(page):
        assert block.language, (
            f"a block of {name(page)} has no language: sh for commands, text for other text\n{block.text}"
        )
        if block.language == "text":
            assert not PROGRAMS.search(block.text), f"commands of {name(page)} belong into a block `sh`:\n{block.text}"
        assert block.language not in ("bash", "shell", "console"), (
            f"{name(page)}: commands have the language {COMMANDS}"
        )


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_a_program_would_take_every_command(page: Path, tmp_path: Path, programs: Path) -> None:
    around = Around(programs / "parse", tmp_path)
    for block in scripts(page):
        commands = recorded(block.text, tmp_path)
        for command in commands:
            check(command, around)
        if skipped(block):
            assert block.title in REASONS, f"{block.title!r} is no reason of tests/docs/test_commands.py"
            assert {command[0] for command in commands} & REASONS[block.title], f"{block.title}: why?\n{block.text}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_inline_commands_name_what_exists(page: Path, tmp_path: Path, programs: Path) -> None:
    for code in inline(page):
        try:
            words = shlex.split(code)
        except ValueError:
            continue
        if len(words) < 2 or words[0] not in CHECKED_INLINE or ("/" in words[1] and words[0] == "anysound"):
            continue
        fault = missing(words, Around(programs / "parse", tmp_path))
        assert fault is None, f"`{code}`: {fault}"


def missing(words: list[str], around: Around) -> str | None:
    """What an inline command has that its program has not; arguments may be placeholders."""
    program, *arguments = words
    if program == "make":
        arguments = [each for each in arguments if re.fullmatch(r"[a-z-]+|[A-Z_]+=.*", each)]
    elif program == "python" and arguments[0] == "-m":
        return missing_of_module(arguments[1], [each for each in arguments if each.startswith("--")])
    try:
        check([program, *arguments], around)
    except Wrong as error:
        if (OPTION.search(str(error)) and "no option" in str(error).lower()) or "no command" in str(error):
            return str(error)
    return None


def missing_of_module(module: str, options: list[str]) -> str | None:
    place = ROOT / module.replace(".", "/")
    if not ours(module):
        return None
    found = [path for path in (place.with_suffix(".py"), place / "__main__.py") if path.exists()]
    if not found:
        return "no such module"
    unknown = [option for option in options if f'"{option.partition("=")[0]}"' not in found[0].read_text()]
    return f"no option {unknown}" if unknown else None


@pytest.mark.parametrize("page", RUN, ids=name)
def test_commands_run_and_print_what_the_page_shows(page: Path, tmp_path: Path, programs: Path, address: str) -> None:
    if page.stem == "kubernetes-gpu" and tool("helm") is None:
        pytest.skip("no helm: tests/tools.sh brings it")
    place = Place(clone(tmp_path), programs, address)
    printed = ""
    for block in blocks(page):
        if block.language == COMMANDS and not skipped(block):
            done = place.run(block.text)
            printed = done.stdout
            assert done.returncode == 0, f"{block.text}\n{printed}"
        elif block.language == "python" and block.title.endswith(".py"):
            (tmp_path / block.title).write_text(block.text.replace("http://127.0.0.1:8000", address))
        elif block.title == OUTPUT:
            assert (fault := differences(block.text, printed)) == "", fault


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("anysound classify a.wav --labl crow", "--labl"),
        ("anysound classify a.wav -l crow --top-k many", "--top-k"),
        ("anysound bulk a --labels b", "folder is missing"),
        ("anysound serve --prot 8000", "--prot"),
        ("anysound bench --quik", "--quik"),
        ("anysound trane", "trane"),
        ("python -m benchmarks.memory --hours 3", "--hours"),
        ("python -m benchmarks.memories", "no such program"),
        ("make tset", "tset"),
        ("make bench BANCH=--quick", "BANCH"),
        ("pip install 'anysound[bulky]'", "bulky"),
        ("benchmarks/gpu/unpack FOLDER", "unpack"),
        ("docker build -f docker/Containerfile .", "Containerfile"),
        ("torchrun --nproc 8 -m anysound train runn", "runn"),
        ("frobnicate", "frobnicate"),
        ("echo 'open", "bash"),
        ("echo $(anysound listen --hopp 1) | anysound embed", "--hopp"),
        pytest.param("helm install a k8s/anysound --set replicsa=3", "replicsa", marks=needs("helm")),
        pytest.param("helm upgrade a k8s/anysound --instal", "--instal", marks=needs("helm")),
        pytest.param("kubectl -n a rollout status deployment/a --timout=3m", "--timout", marks=needs("kubectl")),
    ],
)
def test_what_a_program_would_refuse_is_found(command: str, reason: str, tmp_path: Path, programs: Path) -> None:
    around = Around(programs / "parse", tmp_path)

    def check_all() -> None:
        for each in recorded(command, tmp_path):
            check(each, around)

    with pytest.raises(Wrong, match=re.escape(reason)):
        check_all()


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("crow  0.995", "crow 0.990\n", True),
        ("crow  0.995", "crow 0.945\n", False),
        ("5 items in …\n…\ndone", "5 items in 3 s\nmore\nlines\ndone\n", True),
        ("5 items", "6 items", False),
        ("first\nsecond", "first", False),
    ],
)
def test_output_may_differ_a_little_in_scores_only(shown: str, printed: str, same: bool) -> None:
    assert (differences(shown, printed) == "") is same


def test_the_search_tutorial_has_the_module_of_the_recipes() -> None:
    [module] = [block.text for block in blocks(ROOT / "docs/tutorials/search.md") if block.title == "embed.py"]
    assert module in (ROOT / "docs/pipelines.md").read_text()


@needs("helm")
def test_the_kubernetes_tutorial_makes_valid_manifests(tmp_path: Path) -> None:
    [first, *_] = scripts(ROOT / "docs/tutorials/kubernetes-gpu.md")
    subprocess.run(["/bin/bash", "-c", first.text], cwd=tmp_path, check=True)
    text = helm("template", "anysound", str(CHART), "-n", "anysound", "-f", str(tmp_path / "my-gpu.yaml"))
    kinds = []
    for manifest in yaml.safe_load_all(text):
        kubernetes_validate.validate(manifest, "1.35", strict=True)
        kinds.append(manifest["kind"])
    assert "Deployment" in kinds
