"""`anysound evaluate`: one command, one table; every fault of a copy is named on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluation.command import app
from evaluation.tasks import SUITES
from tests.evaluation.layouts import LAYOUTS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few clips of every data set, in one folder."""
    folder = tmp_path_factory.mktemp("data")
    for name, make in LAYOUTS.items():
        make(folder / {"mridangam-tonic": "mridangam-stroke", "speech-commands-35": "speech-commands"}.get(name, name))
    return folder


def run(*arguments: str | Path, tiny: Path, cache: Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--model", str(tiny), "--cache", str(cache)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_paper_s_suite_is_one_command(data: Path, tiny_folder: Path, tmp_path: Path) -> None:
    status, out, _ = run("--data", data, "--suite", "paper", "--json", tiny=tiny_folder, cache=tmp_path)
    report = json.loads(out)
    assert status == 0
    assert [task["task"] for task in report["tasks"]] == list(SUITES["paper"])
    assert all(0 <= value <= 1 for task in report["tasks"] for value in task["figures"].values())


def test_a_partial_copy_is_marked(data: Path, tiny_folder: Path, tmp_path: Path) -> None:
    _, out, err = run("--data", data, "--task", "esc50", tiny=tiny_folder, cache=tmp_path)
    assert "ESC-50 (part)" in out
    assert "a partial copy: 12 of 2,000 clips, 5 of 50 classes" in err


def test_a_suite_names_the_data_sets_that_are_not_there(tiny_folder: Path, tmp_path: Path) -> None:
    LAYOUTS["esc50"](tmp_path)
    status, out, err = run("--data", tmp_path, "--suite", "paper", tiny=tiny_folder, cache=tmp_path / "cache")
    assert status == 0
    assert "ESC-50" in out
    assert all(f"{name}: " in err for name in SUITES["paper"] if name != "esc50")


def test_faults_are_counted_and_named(tiny_folder: Path, tmp_path: Path) -> None:
    LAYOUTS["esc50"](tmp_path)
    home = tmp_path / "ESC-50-master"
    (home / "audio/5-203128-A-0.wav").write_bytes(b"not audio")
    (home / "audio/5-181766-A-10.wav").unlink()
    table = home / "meta/esc50.csv"
    table.write_text(table.read_text().replace("37,clock_alarm", "37,clock_alarum"))
    status, _, err = run("--data", tmp_path, "--task", "esc50", tiny=tiny_folder, cache=tmp_path / "cache")
    assert status == 0
    assert "1 unreadable: 5-203128-A-0.wav: " in err
    assert "1 not on disk: 5-181766-A-10.wav" in err
    assert "1 class not in the list: 4-151242-A-37.wav: 'clock alarum'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "esc51"], "unknown task esc51; there are esc50, fsd50k"),
        (["--suite", "papers"], "unknown suite papers; there is paper"),
        (["--template", "a sound"], "'a sound': a template needs exactly one {label}"),
        (["--task", "esc50"], "does not hold ESC-50; expected\n  ESC-50-master/\n    meta/esc50.csv"),
        ([], "holds none of the data sets"),
    ],
)
def test_a_wrong_request_ends_with_status_2_and_the_reason(
    arguments: list[str], message: str, tiny_folder: Path, tmp_path: Path
) -> None:
    status, out, err = run("--data", tmp_path, *arguments, tiny=tiny_folder, cache=tmp_path / "cache")
    assert (status, out) == (2, "")
    assert message in err


def test_a_folder_that_is_not_there_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    status, _, err = run("--data", tmp_path / "nowhere", tiny=tiny_folder, cache=tmp_path)
    assert status == 2
    assert "nowhere is not a folder" in err


def test_a_device_and_a_hub_id_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    LAYOUTS["esc50"](tmp_path)
    for asked, why in (
        (["--device", "gpu"], "unknown device gpu; known are auto, cpu, cuda and cuda:N"),
        (["--model", "nobody/no-such-clap"], "nobody/no-such-clap"),
    ):
        done = CliRunner().invoke(app, ["--data", str(tmp_path), "--no-keep", *asked])
        assert done.exit_code == 2
        assert why in done.stderr
        assert isinstance(done.exception, SystemExit)
