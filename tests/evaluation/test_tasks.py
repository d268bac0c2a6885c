"""Tasks read the official layouts, and say what they expected where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.tasks import TASKS, LayoutError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_esc50_names_its_classes_by_its_table(tmp_path: Path) -> None:
    meta = touch(tmp_path / "ESC-50-master/meta/esc50.csv")
    header = "filename,fold,target,category,esc10,src_file,take\n"
    rows = "1-1-A-0.wav,1,0,dog,True,1,A\n1-2-A-21.wav,1,21,sea_waves,True,2,A\n1-3-A-3.wav,1,3,cow,False,3,A\n"
    meta.write_text(header + rows)
    touch(meta.parents[1] / "audio/1-1-A-0.wav")
    touch(meta.parents[1] / "audio/1-2-A-21.ogg")
    clips = TASKS["esc50"].clips(tmp_path)
    assert [(clip.path.name, clip.label) for clip in clips] == [("1-1-A-0.wav", "dog"), ("1-2-A-21.ogg", "sea waves")]


def test_music_and_speech_are_told_by_their_folders(tmp_path: Path) -> None:
    touch(tmp_path / "music_speech/music_wav/a.wav")
    touch(tmp_path / "music_speech/speech_wav/b.wav")
    touch(tmp_path / "music_speech/speech_wav/notes.txt")
    assert [clip.label for clip in TASKS["gtzan-music-speech"].clips(tmp_path)] == ["music", "speech"]


def test_speech_commands_are_told_by_their_folders_and_background_noise_is_no_word(tmp_path: Path) -> None:
    for word in ("yes", "no", "_background_noise_"):
        touch(tmp_path / word / "a.wav")
    assert [clip.label for clip in TASKS["speech-commands"].clips(tmp_path)] == ["no", "yes"]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_wrong_folder_is_answered_with_the_tree_that_was_expected(name: str, tmp_path: Path) -> None:
    with pytest.raises(LayoutError) as error:
        TASKS[name].clips(tmp_path)
    assert TASKS[name].layout in str(error.value)


@pytest.mark.parametrize(
    ("name", "clips", "classes"), [("esc50", 400, 10), ("gtzan-music-speech", 128, 2), ("speech-commands", 350, 35)]
)
def test_the_real_data_sets_are_found_whole(name: str, clips: int, classes: int, shared: Path) -> None:
    found = TASKS[name].clips(shared / "data/eval")
    assert len(found) == clips
    assert len({clip.label for clip in found}) == classes
