"""The four training sets in their official layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.data.datasets import audiocaps, clotho, fsd50k, macs
from training.data.manifest import Captioned, ManifestError, check_present


def test_fsd50k_captions_are_title_and_description(tmp_path: Path) -> None:
    truth, metadata = tmp_path / "FSD50K.ground_truth", tmp_path / "FSD50K.metadata"
    truth.mkdir()
    metadata.mkdir()
    (truth / "dev.csv").write_text('fname,labels,mids,split\n7,"Bark,Dog","/m/1,/m/2",train\n8,Rain,/m/3,val\n')
    about = {"7": {"title": "Dog.wav", "description": "My dog\r\nbarks."}, "8": {"title": "Rain", "description": ""}}
    (metadata / "dev_clips_info_FSD50K.json").write_text(json.dumps(about))
    seven = Captioned(tmp_path / "FSD50K.dev_audio" / "7.wav", ("Dog.wav My dog barks.",))
    eight = Captioned(tmp_path / "FSD50K.dev_audio" / "8.wav", ("Rain",))
    assert fsd50k(tmp_path) == [seven]
    assert fsd50k(tmp_path, ("train", "val")) == [seven, eight]


def test_macs_has_the_sentences_of_every_annotator(tmp_path: Path) -> None:
    audio = tmp_path / "TAU-urban-acoustic-scenes-2019-development" / "audio"
    audio.mkdir(parents=True)
    (audio / "park-1.wav").touch()
    (tmp_path / "MACS.yaml").write_text(
        "files:\n- filename: park-1.wav\n  annotations:\n"
        "  - {annotator_id: 1, sentence: birds sing, tags: [birds]}\n  - {annotator_id: 2, sentence: a walk}\n"
    )
    assert macs(tmp_path) == [Captioned(audio / "park-1.wav", ("birds sing", "a walk"))]


def test_clotho_has_five_captions_a_recording(shared: Path) -> None:
    root = shared / "data" / "pairs" / "clotho"
    clips = clotho(root, ("evaluation",))
    assert len(clips) == 1045
    assert {len(clip.captions) for clip in clips} <= {4, 5}  # a few are given twice
    present = check_present(clips, "Clotho", 0.995)
    assert len(present) == 7
    assert len(clotho(root, ("development",))) == 2893  # version 1; version 2 has 3,839


def test_audiocaps_has_one_caption_in_train_and_five_in_test(shared: Path) -> None:
    root = shared / "data" / "pairs" / "audiocaps"
    present = check_present(audiocaps(root, ("test",)), "AudioCaps", 0.99)
    assert len(present) == 13
    assert {len(clip.captions) for clip in present} <= {4, 5}
    train = audiocaps(root)
    assert len(train) > 45_000
    assert {len(clip.captions) for clip in train} == {1}


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("audiocap_id,youtube_id,caption\n1,abc,rain\n")
    with pytest.raises(ManifestError, match="no column `start_time`"):
        audiocaps(tmp_path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    for reader in (fsd50k, clotho, audiocaps, macs):
        with pytest.raises(ManifestError, match="cannot be read"):
            reader(tmp_path)


def test_a_line_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("audiocap_id,youtube_id,start_time,caption\n1,abc\n")
    with pytest.raises(ManifestError, match=r"train\.csv:2: the line is cut short"):
        audiocaps(tmp_path)
