"""Speech Commands v2 (Warden 2018): ten words, "unknown" for the 25 others, and silence; also with all 35 words.

Silence is cut from the background recordings in seconds that overlap by half, as HEAR does; HEAR's validation keeps
`running_tap.wav`. The official test set of 12 folders is used where it lies beside the data set. A copy without the
official lists is given folds by speaker.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evaluation.layouts import lines, recordings
from evaluation.task import Clip, Split, Task
from model.audio import AudioError
from model.audio import read as read_audio

COMMANDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
OTHERS = (
    "backward", "bed", "bird", "cat", "dog", "eight", "five", "follow", "forward", "four", "happy", "house", "learn",
    "marvin", "nine", "one", "seven", "sheila", "six", "three", "tree", "two", "visual", "wow", "zero",
)  # fmt: skip
TEST_SET = "speech_commands_test_set_v0.02"
LISTS: dict[str, Split] = {"validation_list.txt": "val", "testing_list.txt": "test"}
LAYOUT = """speech_commands_v0.02/
  yes/0a7c2a8d_nohash_0.wav …   a folder per word
  _background_noise_/running_tap.wav …
  validation_list.txt
  testing_list.txt
speech_commands_test_set_v0.02/  (12 folders, optional)
  yes/… _silence_/… _unknown_/…"""


def words(root: Path) -> Iterator[Clip]:
    """Every spoken word under its own name, in its official split."""
    if not (root / "yes").is_dir() or not (root / "bed").is_dir():
        return
    splits = {name: split for file, split in LISTS.items() if (root / file).exists() for name in lines(root / file)}
    for word in sorted((*COMMANDS, *OTHERS)):
        for path in recordings(root / word):
            name = f"{word}/{path.stem}.wav"
            split: Split = splits.get(name, "train") if splits else ""
            yield Clip(path, (word,), split, source=path.stem.split("_nohash_")[0])


def silence(root: Path, has_splits: bool) -> Iterator[Clip]:
    """Seconds of the background recordings."""
    for path in recordings(root / "_background_noise_"):
        try:
            duration = read_audio(path).duration_s
        except (AudioError, OSError):
            duration = 1.0  # so that it is named among the clips that can't be read
        split: Split = "" if not has_splits else "val" if path.stem == "running_tap" else "train"
        for half in range(max(1, int((duration - 1.0) / 0.5) + 1)):
            yield Clip(path, ("silence",), split, source=path.stem, start_s=half * 0.5, duration_s=1.0)


def read_12(root: Path) -> list[Clip]:
    clips = [
        clip if clip.label in COMMANDS else Clip(clip.path, ("unknown",), clip.split, source=clip.source)
        for clip in words(root)
    ]
    if not clips:
        return []
    has_splits = any(clip.split for clip in clips)
    test = root.parent / TEST_SET
    if has_splits and (test / "yes").is_dir():
        folders = {**{word: word for word in COMMANDS}, "_silence_": "silence", "_unknown_": "unknown"}
        clips = [clip for clip in clips if clip.split != "test"]
        clips += [Clip(path, (label,), "test") for name, label in folders.items() for path in recordings(test / name)]
    return [*clips, *silence(root, has_splits)]


TASK = Task(
    name="speech-commands",
    title="Speech Commands v2 (12)",
    layout=LAYOUT,
    read=read_12,
    classes=(*COMMANDS, "unknown", "silence"),
    class_count=12,
    official={"train": 84_843, "val": 9_981, "test": 4_890},
    template="{label}",
)
TASK_35 = Task(
    name="speech-commands-35",
    title="Speech Commands v2 (35)",
    layout=LAYOUT,
    read=lambda root: list(words(root)),
    classes=tuple(sorted((*COMMANDS, *OTHERS))),
    class_count=35,
    official={"train": 84_843, "val": 9_981, "test": 11_005},
    template="{label}",
)
