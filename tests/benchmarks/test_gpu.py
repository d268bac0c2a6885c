"""The GPU run on a CPU: a GPU's first contact must not be the script's first contact."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from benchmarks.gpu import running
from benchmarks.gpu.packing import LEFT_OUT, MOST_BYTES, PRESENT, needed, pack, source
from benchmarks.gpu.part import of_arguments
from benchmarks.gpu.running import PARTS, flags, main, options

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is carried to the machine, without wheels: they are for another Python, and this one has the packages."""
    folder = tmp_path_factory.mktemp("gpu") / "pack"
    assert pack(folder, EXAMPLES, with_wheels=False, count=2) < MOST_BYTES
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_part_reports_its_figures_and_the_run_writes_them(packed: Path, tmp_path: Path) -> None:
    arguments = [str(packed), "--device", "cpu", "--quick", "--parts", "learning", "--out", str(tmp_path)]
    assert main([*arguments, "--seconds", "300"]) == 0
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert document["machine"]["device"] == "cpu"
    found = [row["what"] for row in document["rows"]]
    assert found[:2] == ["operations per pair, forward and backward", "CNN14 + 2 text layers, batch 4, 1 chunks"]
    assert found[-2:] == ["loader", "student, batch 4"]
    assert "CNN14 + 2 text layers, batch 4, 2 chunks: " in (tmp_path / "gpu.txt").read_text()


@pytest.mark.parametrize("name", [part.module for part in PARTS])
@pytest.mark.parametrize("quick", [True, False])
def test_each_part_imports_and_reads_what_the_run_tells_it(name: str, quick: bool, tmp_path: Path) -> None:
    assert callable(importlib.import_module(f"benchmarks.gpu.{name}").main)
    given = options([str(tmp_path), "--device", "cpu", *(["--quick"] if quick else [])])
    part = of_arguments(name, flags(given, 90.4, tmp_path / "rows.jsonl"))
    assert (part.name, part.device, part.quick, part.seconds) == (name, "cpu", quick, 90)
    assert (part.pack, part.out) == (tmp_path, tmp_path / "rows.jsonl")


@pytest.mark.parametrize("script", ["pack", "run"])
def test_the_scripts_start_as_files(script: str) -> None:
    command = [sys.executable, str(Path(running.__file__).parent / script), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.startswith(f"usage: benchmarks/gpu/{script} ")


def test_the_source_that_is_carried_knows_its_version(tmp_path: Path) -> None:
    source(tmp_path / "source")
    command = [sys.executable, "-S", "-c", "from importlib.metadata import version; print(version('anysound'))"]
    found = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path / "source")}
    )
    assert found.stdout.strip() == version("anysound")


def test_every_requirement_is_carried_or_on_the_machine() -> None:
    carried = needed()
    assert {"uvicorn", "websockets", "redis[hiredis]"} <= {each.split(">")[0] for each in carried}
    assert not {each.split(">")[0] for each in carried} & {*PRESENT, *LEFT_OUT}


def test_an_unknown_part_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options([str(tmp_path), "--parts", "speed,sped"])
    assert "unknown part sped: there are correctness, faults, speed, learning" in capsys.readouterr().err


def test_a_part_that_cannot_run_costs_only_itself(tmp_path: Path) -> None:
    folder, out = tmp_path / "empty", tmp_path / "out"
    (folder / "source").mkdir(parents=True)
    arguments = [str(folder), "--device", "cpu", "--quick", "--parts", "correctness,faults", "--out", str(out)]
    assert main([*arguments, "--seconds", "60"]) == 1
    rows = json.loads((out / "gpu.json").read_text())["rows"]
    assert {row["part"] for row in rows if row["holds"] is False} == {"correctness", "faults"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_part_runs(packed: Path, tmp_path: Path) -> None:
    status = main([str(packed), "--device", "cpu", "--quick", "--seconds", "600", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert status == 0, [row for row in rows if row["holds"] is False]
    assert {row["part"] for row in rows} == {"correctness", "faults", "speed", "learning"}
