"""Two runs side by side, and a figure beside the last one that landed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.__main__ import main
from benchmarks.comparison import compare
from benchmarks.history import HISTORY, describe, landed


def results(path: Path, **changed: Any) -> Path:
    row = {"model": "bundled", "system": "anysound", "mode": "closed", "level": 32.0, "clips_s": 100.0, "p50": 10.0}
    row |= {"p99": float("nan"), "cpu_ms": {"worker": 5.0, "api": 3.0}} | changed
    path.write_text(json.dumps({"measurements": [row]}))
    return path


def test_each_figure_has_its_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = results(tmp_path / "old.json")
    new = results(tmp_path / "new.json", clips_s=150.0, cpu_ms={"worker": 4.0, "api": 2.0})
    assert main(["--compare", str(old), str(new)]) == 0
    shown = capsys.readouterr().out
    assert "100.0 → 150.0, 1.50x" in shown
    assert "8.0 → 6.0, 0.75x" in shown
    assert "nan" not in shown


@pytest.mark.parametrize("changed", [{"level": 8.0}, {"model": "cnn14"}])
def test_runs_with_nothing_in_common_are_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no measurement in common"):
        compare(results(tmp_path / "old.json"), results(tmp_path / "new.json", **changed))


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("[]")
    with pytest.raises(ValueError, match=r"no results\.json"):
        compare(other, results(tmp_path / "new.json"))


def test_the_last_landed_figure_is_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert landed(path) is None
    lines = [
        {"commit": name, "cpu_ms": {"worker": 1.0}, "bare_ms": 5.0, "over_bare": over}
        for name, over in [("a", 2.0), ("b", 1.6)]
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    last = landed(path)
    assert last is not None
    text = describe({**lines[0], "over_bare": 1.2}, last)
    assert "1.20 times the bare pipeline's 5.0 ms" in text
    assert "0.75 times the last landed figure (b)" in text


def test_the_history_can_be_read() -> None:
    last = landed(HISTORY)
    assert last is None or last["over_bare"] > 0


def test_the_table_fits_a_terminal(tmp_path: Path) -> None:
    console = Console(width=120, record=True)
    console.print(compare(results(tmp_path / "old.json"), results(tmp_path / "new.json")))
    assert "100.0 → 100.0, 1.00x" in console.export_text()
