"""Recordings of one's own: a folder for each class, or a table of labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluation.command import FOUND, app
from evaluation.folds import make_folds
from evaluation.tasks import NAMED, LayoutError
from tests.evaluation.layouts import noise, write

SINGLE, MANY = NAMED["labelled"], NAMED["labelled-many"]


def labelled(root: Path, *rows: str) -> Path:
    for row in rows:
        if name := row.split(",")[0]:
            noise(root / name)
    write(root / "labels.csv", "audio,label,source", *rows)
    return root


def test_a_folder_is_a_class(tmp_path: Path) -> None:
    for name in ("dog_bark/1.wav", "dog_bark/2.flac", "siren/1.wav", "siren/notes.txt.wav"):
        noise(tmp_path / name)
    write(tmp_path / "siren/licence.txt", "mine")
    (tmp_path / "empty").mkdir()
    found = SINGLE.open(tmp_path)
    assert found.classes == ("dog bark", "siren")
    assert [(clip.path.name, clip.label) for clip in found.clips] == [
        ("1.wav", "dog bark"), ("2.flac", "dog bark"), ("1.wav", "siren"), ("notes.txt.wav", "siren")
    ]  # fmt: skip
    assert not found.partial


def test_a_table_names_labels_and_what_no_fold_may_part(tmp_path: Path) -> None:
    rows = [f"day/{number}.wav,{'rain' if number % 2 else 'a dog, barking'!r},{number // 4}" for number in range(40)]
    found = SINGLE.open(labelled(tmp_path, *(row.replace("'", '"') for row in rows)))
    assert found.classes == ("a dog, barking", "rain")
    for fold in make_folds(found.clips, 5):
        train, test = ({found.clips[row].source for row in part} for part in (fold.training, fold.test))
        assert not train & test


def test_rows_of_one_recording_are_its_labels(tmp_path: Path) -> None:
    labelled(tmp_path, "1.wav,rain,", "1.wav,thunder,", "2.wav,rain,")
    assert [clip.labels for clip in MANY.open(tmp_path).clips] == [("rain", "thunder"), ("rain",)]
    with pytest.raises(
        LayoutError, match=r"1\.wav has the labels rain, thunder, and accuracy needs one.*labelled-many"
    ):
        SINGLE.open(tmp_path)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (["1.wav,rain,", "2.wav,,"], r"labels\.csv:3: the row has no label"),
        (["1.wav,rain,", ",rain,"], r"labels\.csv:3: the row has no audio"),
        (["1.wav,rain,", "2.wav,rain,"], "every clip is 'rain'"),
    ],
)
def test_a_table_that_says_too_little_is_refused(rows: list[str], why: str, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=why):
        SINGLE.open(labelled(tmp_path, *rows))


def test_a_table_without_a_column_and_a_folder_without_classes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "table/labels.csv", "file,label", "1.wav,rain")
    with pytest.raises(LayoutError, match="no column `audio` among file, label"):
        SINGLE.open(tmp_path / "table")
    noise(tmp_path / "flat/only/1.wav")
    with pytest.raises(LayoutError, match="a folder for each class"):
        SINGLE.open(tmp_path / "flat")


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfaudio;label;source\r\n1.wav;rain, hail;\r\n2.wav;caf\xc3\xa9;\r\n",
        b"audio\tlabel\n1.wav\train, hail\n2.wav\tcaf\xe9\n",
    ],
)
def test_a_table_is_read_in_the_dialects_of_spreadsheets(tmp_path: Path, data: bytes) -> None:
    for name in ("1.wav", "2.wav"):
        noise(tmp_path / name)
    (tmp_path / "labels.csv").write_bytes(data)
    assert SINGLE.open(tmp_path).classes == ("café", "rain, hail")


def test_an_unquoted_comma_is_named_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"labels\.csv:3: 4 cells, the header has 3"):
        SINGLE.open(labelled(tmp_path, "1.wav,rain,", "2.wav,rain, hail,x"))


def test_a_recording_that_is_not_there_is_named(tmp_path: Path) -> None:
    labelled(tmp_path, "1.wav,rain,", "2.wav,wind,", "3.wav,wind,")
    (tmp_path / "3.wav").unlink()
    assert SINGLE.open(tmp_path).missing == ("3.wav",)


def test_one_s_own_recordings_are_evaluated_by_name_alone(tiny_folder: Path, tmp_path: Path) -> None:
    labelled(tmp_path / "mine", *(f"{number}.wav,{'rain' if number % 3 else 'wind'}," for number in range(9)))
    asked = ["--data", str(tmp_path / "mine"), "--model", str(tiny_folder), "--cache", str(tmp_path / "cache")]
    done = CliRunner().invoke(app, [*asked, "--task", "labelled", "--task", "labelled-many", "--json"])
    report = json.loads(done.stdout)
    assert [(task["task"], task["metric"], task["clips"]) for task in report["tasks"]] == [
        ("labelled", "accuracy", 9), ("labelled-many", "mAP", 9)
    ]  # fmt: skip
    assert not {"labelled", "labelled-many"} & set(FOUND)
    assert CliRunner().invoke(app, asked).exit_code == 2
    for name in ("report.md", "report.html"):
        assert CliRunner().invoke(app, [*asked, "--task", "labelled", "--report", str(tmp_path / "out")]).exit_code == 0
        assert "Labelled recordings" in (tmp_path / "out" / name).read_text()


def test_recordings_that_lie_deeper_are_taken_and_the_place_is_said(tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("deep/dog/1.wav", "deep/rain/1.wav"):
        noise(tmp_path / "mine" / name)
    asked = ["--model", str(tiny_folder), "--no-keep", "--task", "labelled", "--data"]
    nested = CliRunner().invoke(app, [*asked, str(tmp_path / "mine")])
    assert "taken from" in nested.stderr
    assert "deep" in nested.stderr
    assert "taken from" not in CliRunner().invoke(app, [*asked, str(tmp_path / "mine" / "deep")]).stderr


def test_folders_called_as_splits_are_splits(tmp_path: Path) -> None:
    for name in ("train/dog/1.wav", "train/rain/1.wav", "test/dog/2.wav", "test/rain/2.wav", "validation/dog/3.wav"):
        noise(tmp_path / name)
    noise(tmp_path / "validation/rain/3.wav")
    found = SINGLE.open(tmp_path)
    assert {(clip.path.stem, clip.split) for clip in found.clips} == {("1", "train"), ("2", "test"), ("3", "val")}
    assert [clip.label for clip in found.test] == ["dog", "rain"]


def test_nested_folders_whose_class_is_unclear_are_refused(tmp_path: Path) -> None:
    for name in ("a/dog/1.wav", "a/rain/1.wav", "b/dog/2.wav", "b/rain/2.wav"):
        noise(tmp_path / "parts" / name)
        noise(tmp_path / "deep" / name.removeprefix("a/").removeprefix("b/"))
    noise(tmp_path / "deep/dog/puppy/3.wav")
    with pytest.raises(LayoutError, match=r"several folders have a folder for each class \(a, b\)"):
        SINGLE.open(tmp_path / "parts")
    with pytest.raises(LayoutError, match=r"puppy/3\.wav lies in a folder inside the class folder .*dog"):
        SINGLE.open(tmp_path / "deep")
