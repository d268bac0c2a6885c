"""The GPU run on a CPU: a GPU's first contact must not be the script's first contact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu.packing import MOST_BYTES, pack
from benchmarks.gpu.running import main

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
    assert found[:2] == ["operations per pair, forward and backward", "CNN14 and BERT, batch 4, 1 chunks"]
    assert found[-2:] == ["loader", "student, batch 4"]
    assert "CNN14 and BERT, batch 4, 2 chunks: " in (tmp_path / "gpu.txt").read_text()


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
