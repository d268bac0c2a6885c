"""The labels file: names, or a label set as the service takes it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from bulk.labels import LabelsError, read_labels
from model.engine import Engine
from model.prompts import Label


def written(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "labels.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_names_one_per_line(labels: Path) -> None:
    read = read_labels(labels)
    assert read.labels == (Label("dog"), Label("rain"), Label("cat"), Label("siren"))
    assert read.template is None


def test_a_label_set_has_prompts_thresholds_and_a_template(tmp_path: Path) -> None:
    label = {"name": "dog", "prompts": ["a dog"], "negative_prompts": ["a cat"], "threshold": 0.3}
    read = read_labels(written(tmp_path, {"id": "pets", "labels": ["rain", label], "template": "the {label}"}))
    assert read.labels == (Label("rain"), Label("dog", ("a dog",), ("a cat",), 0.3))
    assert read.template == "the {label}"
    assert read_labels(tmp_path / "labels.json", "a {}").template == "a {}"


def test_examples_are_files_beside_it_or_base64(tmp_path: Path, recordings: Path, engine: Engine) -> None:
    data = (recordings / "a/01.wav").read_bytes()
    (tmp_path / "one.wav").write_bytes(data)
    both = [{"name": "dog", "examples": ["one.wav"]}, {"name": "cat", "examples": [{"path": "one.wav"}]}]
    encoded = [{"name": "dog", "examples": [{"data": base64.b64encode(data).decode()}]}, both[1]]
    first, second = (read_labels(written(tmp_path, each)) for each in (both, encoded))
    assert first.examples == second.examples == {"dog": (data,), "cat": (data,)}
    assert first.digest == second.digest
    plain = read_labels(written(tmp_path, ["dog", "cat"]))
    assert plain.digest != first.digest
    assert np.abs(plain.embed(engine).positive - first.embed(engine).positive).max() > 0.01


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no labels"),
        ("# only a comment\n", "no labels"),
        ("dog\ndog\n", "'dog' is there twice"),
        ("[1, 2", ":1: not JSON"),
        ([], "labels: List should have at least 1 item"),
        ([" "], "labels.0"),
        ([{"name": "dog", "promts": []}], "labels.0.promts"),
        ([{"name": "dog", "threshold": 2}], "labels.0.threshold"),
        ([{"name": "dog", "examples": [{}]}], "give `path` or `data`"),
        ([{"name": "dog", "examples": ["none.wav"]}], "none.wav cannot be read"),
        ([{"name": "dog", "examples": [{"data": "!"}]}], "not base64"),
        ({"labels": ["dog"], "template": "no place"}, "exactly one {label}"),
    ],
)
def test_a_fault_is_named(content: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(LabelsError) as caught:
        read_labels(written(tmp_path, content))
    assert said in str(caught.value)
    assert "labels.json" in str(caught.value)


def test_an_example_that_is_no_recording_is_named(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "x.wav").write_bytes(b"no audio")
    both = [{"name": name, "examples": ["x.wav"]} for name in ("dog", "cat")]
    with pytest.raises(LabelsError, match="example of the label 'dog' cannot be read"):
        read_labels(written(tmp_path, both)).embed(engine)


def test_examples_of_some_labels_need_a_calibrated_checkpoint(tmp_path: Path, recordings: Path, engine: Engine) -> None:
    some = ["rain", {"name": "dog", "examples": [str(recordings / "a/01.wav")]}]
    with pytest.raises(LabelsError, match="checkpoint calibrate"):
        read_labels(written(tmp_path, some)).embed(engine)
