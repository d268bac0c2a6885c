"""`anysound bulk` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from bulk import command
from bulk.folder import EVENTS, SCORES, parts
from bulk.labels import read_labels
from model.checkpoint import load
from model.classify import clip_embedding
from model.embed import clip_windows, embed_windows
from model.engine import Engine
from tests.bulk.conftest import LABELS, Run

ROOT = Path(__file__).parents[2]


def rows(out: Path, table: str = SCORES) -> list[dict[str, Any]]:
    return pq.read_table(out / table).to_pylist()  # type: ignore[no-any-return]


def test_a_folder_becomes_rows_in_order_that_agree_with_the_model(
    run: Run, recordings: Path, tmp_path: Path, engine: Engine, labels: Path, tiny_folder: Path
) -> None:
    done = run(recordings, out=tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "15 items" in done.output
    found = rows(tmp_path / "out")
    paths = list(dict.fromkeys(row["path"] for row in found))
    assert paths == sorted(paths)
    assert len(paths) == 15
    failures = [row for row in found if row["error"] is not None]
    assert sorted(Path(str(row["path"])).name for row in failures) == ["broken.wav", "empty.flac", "page.mp3"]
    assert len(found) == 12 * len(LABELS) + 3
    checkpoint = load(tiny_folder)
    expected = read_labels(labels).embed(engine)
    for path in (paths[0], paths[5]):
        clip = clip_embedding(embed_windows(checkpoint, clip_windows(Path(str(path)), checkpoint)[0]))
        scores = expected.score(clip, checkpoint.logit_scale, "softmax").score
        mine = [row for row in found if row["path"] == path]
        assert [row["rank"] for row in mine] == [1, 2, 3, 4]
        assert [row["label"] for row in mine] == [LABELS[each] for each in np.argsort(-scores)]
        assert [row["score"] for row in mine] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)


def test_a_second_run_does_what_is_left_and_nothing_twice(run: Run, recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(recordings / "a", out=out).exit_code == 0
    again = run(recordings / "a", recordings / "b", out=out)
    assert again.exit_code == 0
    assert "6 items were done before" in again.output
    paths = [row["path"] for row in rows(out) if row["rank"] in (1, None)]
    assert len(paths) == len(set(paths)) == 15
    before = [path.read_bytes() for _, path in parts(out)]
    assert "0 items" in run(recordings, out=out).output
    assert [path.read_bytes() for _, path in parts(out)] == before


def test_errors_are_done_again_if_asked(run: Run, recordings: Path, tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    (place / "late.wav").write_bytes(b"")
    run(place, out=tmp_path / "out")
    (place / "late.wav").write_bytes((recordings / "a/01.wav").read_bytes())
    assert "1 items were done before" in run(place, out=tmp_path / "out").output
    assert run(place, "--retry-errors", out=tmp_path / "out").exit_code == 0
    assert [row["error"] for row in rows(tmp_path / "out")] == [None] * len(LABELS)


def test_wide_rows_sigmoid_none_of_these_and_events(run: Run, recordings: Path, tmp_path: Path) -> None:
    options = ["--layout", "wide", "--activation", "sigmoid", "--none-of-these", "--events", "--hop", "0.5"]
    done = run(recordings / "a", *options, "--threshold", "0.1", out=tmp_path / "out")
    assert done.exit_code == 0, done.output
    found = rows(tmp_path / "out")
    assert len(found) == 6
    assert all(0 < row["none_of_these"] < 1 for row in found)
    events = rows(tmp_path / "out", EVENTS)
    durations = {row["path"]: row["duration_s"] for row in found}
    assert events
    for event in events:
        assert 0 <= event["start_s"] < event["end_s"] <= durations[event["path"]] + 1e-6
        assert event["score"] > 0.1
    stored = json.loads((tmp_path / "out" / "bulk.json").read_text())
    assert (stored["layout"], stored["hop_s"], stored["threshold"]) == ("wide", 0.5, 0.1)


def test_events_do_not_change_the_scores(run: Run, recordings: Path, tmp_path: Path) -> None:
    run(recordings / "a", out=tmp_path / "without")
    run(recordings / "a", "--events", "--hop", "0.3", out=tmp_path / "with")
    one, other = (pq.read_table(tmp_path / name / SCORES) for name in ("without", "with"))
    assert one.column("label") == other.column("label")
    assert np.allclose(one.column("score"), other.column("score"), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--activation", "tanh"], "unknown activation"),
        (["--layout", "tall"], "unknown layout"),
        (["--layout", "wide", "--top-k", "1"], "give one of them"),
        (["--hop", "0.5"], "add --events"),
        (["--events", "--hop", "7"], "0.25 to 1 s"),
        (["--template", "no place"], "exactly one {label}"),
        (["--ray", "local"], "--ray needs Ray"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(
    options: list[str], said: str, run: Run, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run(recordings / "a", *options, out=tmp_path / "out")
    assert done.exit_code == 2
    assert said in done.output


def test_other_settings_and_sources_without_recordings_are_refused(run: Run, recordings: Path, tmp_path: Path) -> None:
    assert run(recordings / "a" / "01.wav", out=tmp_path / "out").exit_code == 0
    other = run(recordings / "a", "--top-k", "1", out=tmp_path / "out")
    assert other.exit_code == 2
    assert "`top_k` is 1" in other.output
    (tmp_path / "empty").mkdir()
    assert "hold no recordings" in run(tmp_path / "empty", out=tmp_path / "out2").output


def test_a_report_has_counts_histograms_errors_and_a_page_that_needs_nothing_else(
    run: Run, recordings: Path, tmp_path: Path
) -> None:
    run(recordings, "--events", "--threshold", "0.2", out=tmp_path / "out")
    done = CliRunner().invoke(command.report_app, [str(tmp_path / "out"), "--top", "2"])
    assert done.exit_code == 0, done.output
    assert "1 x empty" in done.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["items"] == 15
    assert sum(label["first"] for label in report["labels"]) == 12
    assert all(sum(label["histogram"]) == 12 for label in report["labels"])
    assert report["errors"]["empty"]["items"] == 1
    best = {(row["label"], row["path"]): row["score"] for row in rows(tmp_path / "out") if row["error"] is None}
    for label in report["labels"]:
        highest = sorted((score for (name, _), score in best.items() if name == label["label"]), reverse=True)
        assert [each["score"] for each in label["top"]] == highest[:2]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<audio") == 2 * len(LABELS)
    assert "cannot be played" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_report_of_another_folder_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(command.report_app, [str(tmp_path)])
    assert done.exit_code == 2
    assert "is not the folder of a run" in done.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_goes_on_without_losing_or_doubling_a_row(
    number: signal.Signals, recordings: Path, labels: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    many = tmp_path / "in"
    many.mkdir()
    for copy in range(40):
        for path in (recordings / "a").glob("*.wav"):
            os.link(path, many / f"{copy:02d}-{path.name}")
    given = [
        str(many),
        "--labels",
        str(labels),
        "--model",
        str(tiny_folder),
        "--out",
        str(tmp_path / "out"),
        "--dtype",
        "float32",
    ]
    code = f"import bulk.run as r; r.PART_ITEMS = 20; from bulk.command import main; main({given!r})"
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, stderr=subprocess.PIPE) as process:
        while not parts(tmp_path / "out") and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    written = len(rows(tmp_path / "out"))
    assert 0 < written < 240 * len(LABELS)
    if number == signal.SIGINT:
        assert "run the command again to go on" in said
    done = CliRunner().invoke(command.app, given)
    assert done.exit_code == 0, done.output
    paths = [row["path"] for row in rows(tmp_path / "out") if row["rank"] == 1]
    assert len(paths) == len(set(paths)) == 240
