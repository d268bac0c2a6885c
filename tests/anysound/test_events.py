"""`anysound classify --events`: where each label is heard, in every format, for recordings of any length."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import Result

from tests.anysound.command import ROOT, run

RATE = 8_000


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s of noise whose loudness changes."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    noise = np.random.default_rng(0).standard_normal(20 * RATE) * np.repeat([0.01, 0.3, 0.05, 0.2], 5 * RATE)
    soundfile.write(path, noise, RATE)
    return path


def classify(model: Path, *arguments: object) -> Result:
    return run("classify", *arguments, "-l", "dog", "-l", "rain", "--events", "--model", model)


def test_each_format_holds_the_same_events(tiny_folder: Path, long: Path) -> None:
    asked = (long, "--threshold", "0.2", "--hop", "0.5")
    [result] = map(json.loads, classify(tiny_folder, *asked, "--format", "json").stdout.splitlines())
    assert result["events"]
    assert [each["start_s"] for each in result["events"]] == sorted(each["start_s"] for each in result["events"])
    expected = [(each["label"], each["start_s"], each["end_s"]) for each in result["events"]]
    rows = list(csv.DictReader(io.StringIO(classify(tiny_folder, *asked, "--format", "csv").stdout)))
    assert [(row["label"], float(row["start_s"]), float(row["end_s"])) for row in rows] == expected
    assert {row["name"] for row in rows} == {str(long)}
    track = [line.split("\t") for line in classify(tiny_folder, *asked, "--format", "audacity").stdout.splitlines()]
    assert [(text, float(start), float(end)) for start, end, text in track] == expected
    assert all(len(time.split(".")[1]) == 6 for start, end, _ in track for time in (start, end))
    table = classify(tiny_folder, *asked).stdout
    assert table.count(" s ") >= 2 * len(expected)


def test_the_scores_are_those_without_events(tiny_folder: Path, long: Path) -> None:
    [plain] = map(
        json.loads,
        run("classify", long, "-l", "dog", "-l", "rain", "--json", "--model", tiny_folder).stdout.splitlines(),
    )
    assert set(plain) == {"name", "scores"}
    for hop in ((), ("--hop", "0.25"), ("--hop", "0.7")):
        [result] = map(json.loads, classify(tiny_folder, long, "--json", *hop).stdout.splitlines())
        assert [each["label"] for each in result["scores"]] == [each["label"] for each in plain["scores"]]
        assert [each["score"] for each in result["scores"]] == pytest.approx(
            [each["score"] for each in plain["scores"]], abs=1e-5
        )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--events", "--hop", "60"], "window"),
        (["--events", "--hop", "0.1"], "hop"),
        (["--events", "--threshold", "2"], "threshold"),
        (["--format", "xml"], "unknown format"),
        (["--format", "audacity"], "add --events"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny_folder: Path, long: Path, arguments: list[str], complaint: str) -> None:
    result = run("classify", long, "-l", "dog", "-l", "rain", *arguments, "--model", tiny_folder)
    assert result.exit_code == 2
    assert complaint in result.stderr


@pytest.mark.slow
def test_half_an_hour_takes_no_more_memory_than_a_minute(tiny_folder: Path, tmp_path: Path) -> None:
    """Half an hour of samples is 58 MB, beside a file of 29 MB that is mapped."""
    minute = (np.random.default_rng(0).standard_normal(60 * RATE) * 3_000).astype(np.int16)
    for name, minutes in (("short.wav", 1), ("long.wav", 30)):
        with soundfile.SoundFile(tmp_path / name, "w", RATE, 1) as file:
            for _ in range(minutes):
                file.write(minute)
    script = """
import resource, sys
from anysound import app
for name in ("short.wav", "long.wav"):
    arguments = ["classify", name, "-l", "dog", "-l", "rain", "--events", "--format", "csv", "--model", sys.argv[1]]
    try:
        app(arguments)
    except SystemExit as ended:
        assert not ended.code
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""
    command = [sys.executable, "-c", script, str(tiny_folder)]
    ran = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    short, long = (int(line) >> 10 for line in ran.stderr.split()[-2:])
    assert long - short < 50, f"{short} and {long} MiB"
