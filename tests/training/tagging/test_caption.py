"""Captions from a tagger."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from training.command import app
from training.data.manifest import read_manifest
from training.tagging.caption import Captioning, classes_of, word
from training.tagging.phrases import ClassPhrases

CLASSES = [
    ClassPhrases("Sound effect", ("a sound effect",), generic=True),
    ClassPhrases("Dog", ("a dog", "dog")),
    ClassPhrases("Rain", ("rain",)),
    ClassPhrases("Wind", ("wind",)),
]


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.9, 0.2, 0.6, 0.1], [2, 1]),
        ([0.9, 0.1, 0.1, 0.1], [0]),
        ([0.1, 0.1, 0.1, 0.1], []),
        ([0.0, 0.5, 0.6, 0.7], [3, 2]),
    ],
)
def test_the_most_certain_telling_classes_are_named(probabilities: list[float], expected: list[int]) -> None:
    assert classes_of(torch.tensor(probabilities), CLASSES, Captioning(threshold=0.15, most=2)) == expected


def test_classes_are_joined_as_people_join_them() -> None:
    rng = np.random.default_rng(0)
    assert word([2], CLASSES, rng) == "rain"
    assert word([2, 3], CLASSES, rng) == "rain and wind"
    assert word([2, 3, 0], CLASSES, rng) == "rain, wind and a sound effect"
    assert {word([1], CLASSES, rng) for _ in range(20)} == {"a dog", "dog"}


def test_recordings_become_a_manifest_to_train_on(shared: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((shared / "data/train/urbansound8k").rglob("*-3-*.ogg"))[:2]):
        (tmp_path / f"{number}.ogg").write_bytes(path.read_bytes())
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    weights = str(shared / "data/weights/efficientat_mn04_as.pt")
    outcome = CliRunner().invoke(app, ["caption", str(tmp_path), "--tagger", weights])
    assert outcome.exit_code == 0, outcome.output
    assert "2 recordings captioned, 1 left out" in outcome.output
    clips = read_manifest(tmp_path / "manifest.jsonl")
    assert [clip.audio.name for clip in clips] == ["0.ogg", "1.ogg"]
    labels = [json.loads(line)["labels"] for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert any("Dog" in row or "Bark" in row for row in labels), labels


def test_a_folder_without_recordings_is_named(shared: Path, tmp_path: Path) -> None:
    weights = str(shared / "data/weights/efficientat_mn04_as.pt")
    outcome = CliRunner().invoke(app, ["caption", str(tmp_path), "--tagger", weights])
    assert outcome.exit_code == 2
    assert "contains no recording" in outcome.output


def test_weights_of_something_else_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "audioset_class_labels.csv").write_text("index,mid,display_name\n0,a,Dog\n")
    weights = tmp_path / "weights.pt"
    torch.save({"conv": torch.zeros(1)}, weights)
    for message in ("is not the tagger's weights", "cannot be read"):
        outcome = CliRunner().invoke(app, ["caption", str(tmp_path), "--tagger", str(weights)])
        assert outcome.exit_code == 2
        assert message in " ".join(outcome.output.split())
        weights.write_bytes(b"no weights")
