"""The user's own recordings, however they are labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.training.recordings import write_manifest
from training.data.corpus import hold_out
from training.data.labelled import read_labelled
from training.data.manifest import Captioned, ManifestError


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(80), 8_000)


def test_a_folder_for_each_label_has_a_caption_for_each_template(tmp_path: Path) -> None:
    write(tmp_path / "dog_bark" / "1.wav", tmp_path / "siren" / "2.wav")
    clips = read_labelled(tmp_path, ["this is a sound of {label}", "{label}"])
    assert [(clip.label, clip.captions) for clip in clips] == [
        ("dog bark", ("this is a sound of dog bark", "dog bark")),
        ("siren", ("this is a sound of siren", "siren")),
    ]


def test_recordings_in_test_are_held_out(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / part / "a" / "1.wav", tmp_path / part / "b" / "2.wav")
    clips = read_labelled(tmp_path, ["{label}"])
    assert {clip.audio.parts[-3] for clip in hold_out(clips, 0.5)} == {"test"}


@pytest.mark.parametrize("place", ["manifest.jsonl", "."])
def test_a_manifest_has_captions_or_labels(tmp_path: Path, place: str) -> None:
    write(tmp_path / "1.wav", tmp_path / "2.wav")
    rows: list[dict[str, Any]] = [
        {"audio": "1.wav", "caption": "my dog", "label": "dog"},
        {"audio": "2.wav", "labels": ["cat", "animal"]},
    ]
    write_manifest(tmp_path / "manifest.jsonl", rows)
    clips = read_labelled(tmp_path / place, ["a {label}"])
    assert [(clip.label, clip.captions) for clip in clips] == [("dog", ("my dog",)), ("cat", ("a cat",))]


def test_a_row_without_both_is_named(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", [{"audio": "1.wav"}])
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: no `caption` and no `label`"):
        read_labelled(tmp_path / "m.jsonl", ["{label}"])


def test_a_folder_without_recordings_shows_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"holds neither manifest\.jsonl(.|\n)*a folder for each class"):
        read_labelled(tmp_path, ["{label}"])


def test_each_label_is_held_out_in_its_share_and_no_source_on_both_sides() -> None:
    clips = [
        Captioned(Path(f"{label}{number}.wav"), ("x",), label=label, group=f"{label}{number // 2}")
        for label in "ab"
        for number in range(20)
    ]
    clips.append(Captioned(Path("c.wav"), ("x",), label="c"))
    chosen = set(hold_out(clips, 0.25))
    for label, count in (("a", 6), ("b", 6), ("c", 0)):
        assert len([clip for clip in chosen if clip.label == label]) == count
    kept = {clip.group for clip in clips if clip not in chosen}
    assert not {clip.group for clip in chosen} & kept
