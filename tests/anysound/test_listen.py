"""`anysound listen`: a line per hop from raw samples, computed here or by a service."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.anysound.command import run

LABELS = ("-l", "dog", "-l", "rain")


def samples(seconds: float, rate: int) -> bytes:
    return (np.random.default_rng(0).standard_normal(round(seconds * rate)) * 3_000).astype("<i2").tobytes()


def test_standard_input_is_scored_at_each_hop(tiny_folder: Path) -> None:
    ran = run(
        "listen",
        "-",
        *LABELS,
        "--hop",
        "0.5",
        "--rate",
        "16000",
        "--json",
        "--model",
        tiny_folder,
        stdin=samples(3, 16_000),
    )
    assert ran.exit_code == 0, ran.stderr
    messages = [json.loads(line) for line in ran.stdout.splitlines()]
    ends = [message["end_s"] for message in messages]
    assert ends[-1] == 3
    assert np.allclose(np.diff(ends), 0.5)
    assert {each["label"] for each in messages[0]["scores"]} == {"dog", "rain"}


def test_half_a_sample_is_named(tiny_folder: Path) -> None:
    ran = run("listen", "-", *LABELS, "--model", tiny_folder, stdin=samples(1, 16_000) + b"\0")
    assert ran.exit_code == 2
    assert "ends within a sample" in ran.stderr


def test_a_service_is_asked(address: str) -> None:
    ran = run("listen", "-", *LABELS, "--rate", "16000", "--url", address, stdin=samples(7, 16_000))
    assert ran.exit_code == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert [line.split(" s ")[0].strip() for line in lines] == ["5.00", "6.00", "7.00"]
    assert all("dog" in line and "rain" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-"], "no label"),
        (["-", *LABELS, "--encoding", "mp3"], "unknown encoding"),
        (["file.wav", *LABELS], "classify --events"),
        (["-", *LABELS, "--url", "http://127.0.0.1:9"], "127.0.0.1:9"),
        (["-", *LABELS, "--hop", "60"], "window"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], complaint: str) -> None:
    result = run("listen", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
