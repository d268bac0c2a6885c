"""Checks the commands of a page against the programs they call, without running them.

Bash expands the commands. A program that is not found calls a function, which records its arguments.
"""

from __future__ import annotations

import functools
import itertools
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from anysound import app
from bulk.command import app as bulk_app
from bulk.command import report_app
from evaluation.command import app as evaluation_app
from service.settings import Settings
from tests.conftest import ROOT
from tests.deploy.chart import tool

BASH = "/bin/bash"
RECORDER = """
PATH=/nowhere
command_not_found_handle() { printf '%s\\0' $# "$@" >> "$RECORD"; echo 1; }
cat() { /bin/cat "$@" 2>/dev/null; }
cd() { :; }
kill() { :; }
source() { :; }
"""
PATH = re.compile(r"(^|[;|&] *)((?:[\w.-]+/)+[\w.-]+)(?= |$)", re.M)
"""A program that is called by its path, which bash would look for."""
OPTION = re.compile(r"--[a-z][\w-]*")
ORDINARY = {
    "arecord", "base64", "cut", "grep", "curl", "ffmpeg", "git", "head", "ls", "mkdir", "openssl", "rm", "sbatch",
    "sed", "sha256sum", "sleep", "sort", "tail", "tr", "wc", "xdg-open",
}  # fmt: skip
"""Programs that are not the project's, and whose options are not checked."""
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
PINNED = {
    line.partition("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
}
PARSE_TIMEOUT_S = 100


class Wrong(Exception):
    """A command that its program would refuse; the message says why."""


def recorded(script: str, folder: Path) -> list[list[str]]:
    """The commands that a script calls, each with its arguments. Raises Wrong if bash cannot read the script."""
    record = folder / "record"
    record.write_bytes(b"")
    examples = folder / "examples"
    if not examples.exists():
        examples.symlink_to(ROOT / "examples")
    script = re.sub(r"(?<![\w/])\.?/?\.venv/bin/", "", script)
    script = PATH.sub(lambda match: match[1] + match[2].replace("/", "@"), script)
    done = subprocess.run(
        [BASH, "--norc", "-c", RECORDER + script],
        cwd=folder,
        env={"RECORD": str(record)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    if done.stderr:
        raise Wrong(f"bash: {done.stderr}")
    words = record.read_text().split("\0")[:-1]
    commands = []
    while words:
        count = int(words[0])
        commands.append(words[1 : 1 + count])
        words = words[1 + count :]
    return commands


@dataclass(frozen=True)
class Around:
    """What runs a Python program until it has parsed its arguments, and the folder with what a page has written."""

    parse: Path
    folder: Path


def check(command: Sequence[str], around: Around) -> None:
    """Raises Wrong if the program would refuse the arguments."""
    program, *arguments = command
    if "@" in program:
        parts = program.split("@")
        if not any((ROOT / "/".join(parts[start:])).is_file() for start in range(len(parts) - 1)):
            raise Wrong(f"{program.replace('@', '/')}: there is no such program")
        return
    if program in ORDINARY:
        return
    if program not in CHECKS:
        raise Wrong(f"{program}: unknown to tests/docs/commands.py")
    CHECKS[program](arguments, around)


def _click(command: Any, arguments: list[str], name: str) -> None:
    """Options, their values, and what is required; files need not exist."""
    context = command.context_class(command, info_name=name)
    try:
        if hasattr(command, "commands"):
            if not arguments or arguments[0].startswith("-"):
                return
            found = command.commands.get(arguments[0])
            if found is None:
                raise Wrong(f"{name}: no command {arguments[0]}")
            _click(found, arguments[1:], f"{name} {arguments[0]}")
            return
        values, _, _ = command.make_parser(context).parse_args(args=list(arguments))
        if "--help" in arguments:
            return
        for parameter in command.params:
            value = values.get(parameter.name)
            if parameter.required and value in (None, ()):
                raise Wrong(f"{name} {shlex.join(arguments)}: {parameter.name} is missing")
            if value is not None and parameter.type_descriptor.annotation in (int, float):
                parameter.process_value(context, value)
    except Exception as error:
        if isinstance(error, Wrong) or not hasattr(error, "format_message"):
            raise
        raise Wrong(f"{name} {shlex.join(arguments)}: {error.format_message()}") from None


def _anysound(arguments: list[str], around: Around) -> None:
    first, *rest = arguments or ["--help"]
    if first == "serve":
        _serve(rest)
    elif first == "bulk":
        report = rest[:1] == ["report"]
        command = typer.main.get_command(report_app if report else bulk_app)
        _click(command, rest[report:], "anysound bulk" + " report" * report)
    elif first == "evaluate":
        _click(typer.main.get_command(evaluation_app), rest, "anysound evaluate")
    elif first == "bench":
        _parse(["-m", "benchmarks", *rest], around)
    else:
        _click(typer.main.get_command(app), arguments, "anysound")


def _serve(arguments: list[str]) -> None:
    names = {f"--{name.replace('_', '-')}" for name in Settings.model_fields} | {"--help"}
    if unknown := {each.partition("=")[0] for each in arguments if each.startswith("--")} - names:
        raise Wrong(f"anysound serve: no option {', '.join(sorted(unknown))}")
    if "--help" not in arguments:
        try:
            Settings(_cli_parse_args=arguments)
        except (ValueError, SystemExit) as error:
            raise Wrong(f"anysound serve {shlex.join(arguments)}: {error}") from None


def _python(arguments: list[str], around: Around) -> None:
    first, *rest = arguments or ["-"]
    if first in ("-", "-c", "-V"):
        return
    if first == "-m" and not ours(rest[0]):
        return
    _parse(arguments, around)


def ours(module: str) -> bool:
    """Whether a module is the project's."""
    return (ROOT / module.partition(".")[0] / "__init__.py").exists()


def _parse(arguments: list[str], around: Around) -> None:
    place = f"{arguments[1].replace('.', '/')}" if arguments[0] == "-m" else arguments[0].removesuffix(".py")
    found = [path for path in (ROOT / f"{place}.py", ROOT / place / "__main__.py") if path.exists()]
    if not found:
        if arguments[0] != "-m" and "/" not in place:
            return  # a file that the page makes
        raise Wrong(f"python {shlex.join(arguments)}: there is no such program")
    if "ArgumentParser" not in found[0].read_text():
        given = arguments[2 if arguments[0] == "-m" else 1 :]
        if "python" in given:  # the rest is a command that the program runs
            inner = given.index("python")
            check(given[inner:], around)
            given = given[:inner]
        if any(each.startswith("--") for each in given):
            raise Wrong(f"python {shlex.join(arguments)}: it has no options")
        return
    command = [str(around.parse), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PARSE_TIMEOUT_S
    )
    if done.returncode:
        raise Wrong(f"python {shlex.join(arguments)}: {done.stderr}")


def _make(arguments: list[str], _: Around) -> None:
    for each in arguments:
        name, assigned, _value = each.partition("=")
        known = rf"\b{name}\b" if assigned else rf"^{re.escape(name)}:"
        if not re.search(known, MAKEFILE, re.M):
            raise Wrong(f"make {each}: the Makefile has no such {'variable' if assigned else 'target'}")


def _pip(arguments: list[str], _: Around) -> None:
    for package in (each for each in arguments[1:] if not each.startswith("-") and each != "constraints.txt"):
        name, extras = re.fullmatch(r"([^\[=<>]+)(?:\[([^\]]*)\])?.*", package, re.S).groups()  # type: ignore[union-attr]
        project = PYPROJECT
        if name in ("./client", "anysound-client"):
            project = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())
        elif name not in (".", "anysound"):
            if name.lower() not in PINNED:
                raise Wrong(f"pip install {package}: constraints.txt does not name it")
            continue
        for extra in (extras or "").split(",") if extras else ():
            if extra not in project["project"]["optional-dependencies"]:
                raise Wrong(f"pip install {package}: no extra {extra}")


def _torchrun(arguments: list[str], around: Around) -> None:
    from torch.distributed.run import get_args_parser

    try:
        given = get_args_parser().parse_args(arguments)
    except SystemExit:
        raise Wrong(f"torchrun {shlex.join(arguments)}") from None
    if given.training_script == "anysound":
        _anysound(given.training_script_args, around)


def _docker(arguments: list[str], _: Around) -> None:
    for option, value in itertools.pairwise(arguments):
        if option == "-f" and not (ROOT / value).exists():
            raise Wrong(f"docker: no file {value}")
        if option == "--target" and f" AS {value}" not in (ROOT / "docker" / "Dockerfile").read_text():
            raise Wrong(f"docker: no target {value}")


@functools.cache
def _options(program: str, *subcommand: str) -> frozenset[str]:
    """The options that a program's help names."""
    done = subprocess.run([program, *subcommand, "--help"], capture_output=True, text=True, timeout=60)
    if done.returncode or not done.stdout:
        raise Wrong(f"{Path(program).name} {shlex.join(subcommand)}: {done.stderr}")
    return frozenset(OPTION.findall(done.stdout))


def _words(arguments: list[str], most: int) -> list[str]:
    """The subcommand: the first words that are no options."""
    words: list[str] = []
    skip = False
    for each in arguments:
        if skip:
            skip = False
        elif each in ("-n", "--namespace"):
            skip = True
        elif each.startswith("-"):
            break
        else:
            words.append(each)
    return words[:most]


def _known(program: str, arguments: list[str], subcommand: Sequence[str], globals_: frozenset[str]) -> None:
    known = _options(program, *subcommand) | globals_
    given = {each.partition("=")[0] for each in arguments if each.startswith("--") and each != "--"}
    if unknown := given - known:
        raise Wrong(f"{Path(program).name} {shlex.join(arguments)}: no option {', '.join(sorted(unknown))}")
    for option, value in itertools.pairwise(arguments):
        if option in ("-f", "--filename", "--values") and "/" in value and not (ROOT / value).exists():
            raise Wrong(f"{Path(program).name} {shlex.join(arguments)}: no file {value}")


def _helm(arguments: list[str], around: Around) -> None:
    """Options, and that the chart takes the values."""
    program = tool("helm")
    if program is None:
        return
    [verb] = _words(arguments, 1) or ["--help"]
    _known(program, arguments, [verb], frozenset())
    if "k8s/anysound" not in arguments or verb not in ("install", "template", "upgrade"):
        return
    kept = arguments[: arguments.index("k8s/anysound") + 1]
    kept = ["template", *[each for each in kept[1:] if not each.startswith("--")]]
    rest = arguments[arguments.index("k8s/anysound") + 1 :]
    for option, value in itertools.pairwise(rest):
        if option in ("-f", "--values", "--set", "--set-string", "-n", "--namespace"):
            written = around.folder / value
            kept += [option, str(written) if option in ("-f", "--values") and written.exists() else value]
    done = subprocess.run([program, *kept], cwd=ROOT, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Wrong(f"helm {shlex.join(arguments)}: {done.stderr}")


def _kubectl(arguments: list[str], _: Around) -> None:
    program = tool("kubectl")
    if program is None:
        return
    words = _words(arguments, 2)
    subcommand = words if words[0] in ("rollout", "create", "top", "auth", "config", "set") else words[:1]
    if subcommand[:2] == ["create", "secret"]:
        subcommand = ["create", "secret", next(each for each in arguments[2:] if each in ("generic", "tls"))]
    done = subprocess.run([program, "options"], capture_output=True, text=True, timeout=60)
    everywhere = frozenset(OPTION.findall(done.stdout))
    _known(program, arguments[: arguments.index("--")] if "--" in arguments else arguments, subcommand, everywhere)


CHECKS: dict[str, Callable[[list[str], Around], None]] = {
    "anysound": _anysound,
    "docker": _docker,
    "helm": _helm,
    "kubectl": _kubectl,
    "make": _make,
    "pip": _pip,
    "python": _python,
    "python3": _python,
    "torchrun": _torchrun,
}
