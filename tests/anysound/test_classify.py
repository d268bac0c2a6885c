"""The command: tables for people, JSON for programs, an exit status for scripts."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import Result

from tests.anysound.command import ROOT, run, shell


def classify(model: Path, *arguments: object) -> Result:
    return run("classify", *arguments, "--model", model)


def test_classify_prints_a_table_best_label_first(tiny_folder: Path, recording: Path) -> None:
    result = classify(tiny_folder, recording, "--label", "dog", "--label", "rain")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert any(recording.name in line for line in lines)
    scores = [float(line.split()[1]) for line in lines if line.split() and line.split()[0] in ("dog", "rain")]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)


def test_classify_json_is_one_object_a_file(tiny_folder: Path, recording: Path) -> None:
    result = classify(tiny_folder, recording, recording, "-l", "dog", "-l", "rain", "--json", "--none-of-these")
    first, second = map(json.loads, result.stdout.splitlines())
    assert first == second
    assert {score["label"] for score in first["scores"]} == {"dog", "rain"}
    assert sum(score["score"] for score in first["scores"]) + first["none_of_these"] == pytest.approx(1.0)


def test_a_file_that_fails_costs_itself_and_the_exit_status(tiny_folder: Path, recording: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("this is text")
    result = classify(
        tiny_folder, tmp_path / "broken.wav", recording, tmp_path / "absent.wav", "-l", "dog", "-l", "rain", "--json"
    )
    assert result.exit_code == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert ["error" in row for row in rows] == [True, False, True]
    assert rows[0]["error"]["code"] == "unsupported_audio"


@pytest.mark.parametrize("label", ["[red]dog[/red]", "{0.__class__}", "雨", "🐕"])
def test_a_label_is_printed_as_it_is(tiny_folder: Path, recording: Path, label: str) -> None:
    assert label in classify(tiny_folder, recording, "-l", label, "-l", "rain").stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-l", "dog"], "softmax over one label"),
        (["-l", "dog", "-l", "dog"], "given twice"),
        (["-l", "dog", "-l", " "], "empty"),
        (["-l", "dog", "-l", "rain", "--activation", "relu"], "relu"),
        (["-l", "dog", "-l", "rain", "--template", "a sound"], "exactly one"),
        (["-l", "dog", "-l", "rain", "--top-k", "0"], "top-k"),
    ],
)
def test_what_makes_no_sense_is_refused_with_status_2(
    tiny_folder: Path, recording: Path, arguments: list[str], complaint: str
) -> None:
    result = classify(tiny_folder, recording, *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_a_folder_that_is_no_checkpoint_is_named(recording: Path, tmp_path: Path) -> None:
    result = classify(tmp_path, recording, "-l", "dog", "-l", "rain")
    assert result.exit_code == 2
    assert "is not a checkpoint" in result.stderr


def test_one_label_is_served_with_sigmoid(tiny_folder: Path, recording: Path) -> None:
    assert classify(tiny_folder, recording, "-l", "dog", "--activation", "sigmoid").exit_code == 0


# The command in a shell


def test_a_recording_is_read_from_standard_input(tiny_folder: Path, recording: Path) -> None:
    asked = ("-l", "dog", "-l", "rain", "--json", "--model", str(tiny_folder))
    piped = shell("classify", "-", *asked, stdin=recording.read_bytes())
    assert piped.returncode == 0, piped.stderr
    named = json.loads(run("classify", recording, *asked).stdout)
    assert json.loads(piped.stdout) == {**named, "name": "-"}


def test_standard_input_is_read_once(tiny_folder: Path) -> None:
    result = classify(tiny_folder, "-", "-", "-l", "dog", "-l", "rain")
    assert result.exit_code == 2
    assert "standard input can be read once only" in result.stderr


def test_a_named_pipe_is_read(tiny_folder: Path, recording: Path, tmp_path: Path) -> None:
    """A shell's process substitution makes such a pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["/bin/sh", "-c", f"cat '{recording}' > '{pipe}'"]):
        result = classify(tiny_folder, pipe, "-l", "dog", "-l", "rain", "--json")
    assert "scores" in json.loads(result.stdout)


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Python makes UTF-8 of the C locale unless it is told not to."""


@pytest.fixture
def latin_1(recording: Path, tmp_path: Path) -> bytes:
    """A recording whose name is no UTF-8."""
    name = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    Path(os.fsdecode(name)).write_bytes(recording.read_bytes())
    return name


@pytest.mark.parametrize(("locale", "rain"), [({"LC_ALL": "C"}, "雨".encode()), (ASCII, b"\\u96e8")])
def test_chinese_labels_and_latin_1_file_names_are_printed_in_any_locale(
    tiny_folder: Path, latin_1: bytes, locale: dict[str, str], rain: bytes
) -> None:
    labels = (b"-l", "雨".encode(), b"-l", b"dog")
    result = shell(
        b"classify", latin_1, latin_1 + b".absent", *labels, b"--model", os.fsencode(tiny_folder), locale=locale
    )
    assert result.returncode == 1
    assert rain in result.stdout
    assert len(result.stderr.splitlines()) == 1
    assert b"No such file" in result.stderr


def test_json_holds_any_label_and_file_name_in_any_locale(tiny_folder: Path, latin_1: bytes) -> None:
    labels = (b"-l", "雨".encode(), b"-l", b"dog")
    result = shell(b"classify", latin_1, *labels, b"--json", b"--model", os.fsencode(tiny_folder), locale=ASCII)
    heard = json.loads(result.stdout)
    assert heard["name"] == os.fsdecode(latin_1)
    assert {score["label"] for score in heard["scores"]} == {"雨", "dog"}


def test_a_label_that_is_not_utf_8_is_refused_in_one_line(tiny_folder: Path, recording: Path) -> None:
    result = classify(tiny_folder, recording, "-l", os.fsdecode(b"caf\xe9"), "-l", "rain")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [r"a label is not UTF-8: b'caf\xe9'"]


def test_a_wildcard_of_no_files_and_a_directory_are_named(tiny_folder: Path, tmp_path: Path) -> None:
    result = classify(tiny_folder, tmp_path / "*.wav", tmp_path, "-l", "dog", "-l", "rain")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [f"{tmp_path}/*.wav: no file matches", f"{tmp_path}: Is a directory"]


# Labels with examples, and labels from a file


@pytest.fixture
def label_dir(tmp_path: Path) -> Path:
    """Folders of beeps and of noise."""
    rng = np.random.default_rng(0)
    for name in ("pump 3", "hiss"):
        (tmp_path / "labels" / name).mkdir(parents=True)
    for number in range(3):
        beep = np.sin(2 * np.pi * (900 + 50 * number) * np.arange(16_000) / 16_000)
        soundfile.write(tmp_path / f"labels/pump 3/{number}.wav", 0.4 * beep, 16_000)
        soundfile.write(tmp_path / f"labels/hiss/{number}.wav", 0.1 * rng.standard_normal(16_000), 16_000)
    return tmp_path / "labels"


def test_a_folder_for_each_label_teaches_it_beside_labels_of_words(label_dir: Path, tmp_path: Path) -> None:
    for name in ("pump 3", "hiss"):
        (label_dir / name / "2.wav").rename(tmp_path / f"{name}.wav")
    files = [tmp_path / "pump 3.wav", tmp_path / "hiss.wav", ROOT / "examples/crow.flac"]
    result = run("classify", *files, "--label-dir", label_dir, "--label", "crow", "--json")
    assert result.exit_code == 0, result.output
    best = [json.loads(line)["scores"][0]["label"] for line in result.stdout.splitlines()]
    assert best == ["pump 3", "hiss", "crow"]


def test_only_some_labels_with_examples_need_a_calibrated_checkpoint(
    tiny_folder: Path, recording: Path, label_dir: Path
) -> None:
    result = classify(tiny_folder, recording, "--label-dir", label_dir, "--label", "dog")
    assert result.exit_code == 2
    assert "anysound checkpoint calibrate" in result.stderr
    assert classify(tiny_folder, recording, "--label-dir", label_dir).exit_code == 0


def test_a_label_dir_that_cannot_be_used_says_why(tiny_folder: Path, recording: Path, label_dir: Path) -> None:
    def complaint(folder: Path, *more: str) -> str:
        result = classify(tiny_folder, recording, "--label-dir", folder, *more)
        assert result.exit_code == 2
        return result.stderr

    assert "is not a folder" in complaint(recording)
    assert "given twice" in complaint(label_dir, "--label", "hiss")
    (label_dir / "hiss" / "0.wav").write_text("this is text")
    assert "an example of the label 'hiss' cannot be read: " in complaint(label_dir)
    for number in range(33):
        (label_dir / "hiss" / f"{number}.wav").touch()
    assert "33 recordings, the limit is 32" in complaint(label_dir)
    (label_dir / "nothing").mkdir()
    for number in range(33):
        (label_dir / "hiss" / f"{number}.wav").unlink()
    assert "has no recording" in complaint(label_dir)


@pytest.mark.parametrize("text", ["# mine\ndog\nrain\n", '{"labels": ["dog", {"name": "rain", "prompts": ["rain"]}]}'])
def test_labels_come_from_a_file(tiny_folder: Path, recording: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "labels.json"
    file.write_text(text)
    result = classify(tiny_folder, recording, "--labels", file, "--json")
    assert {score["label"] for score in json.loads(result.stdout)["scores"]} == {"dog", "rain"}
