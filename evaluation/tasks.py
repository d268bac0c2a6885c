"""Evaluation tasks: a data set in its official layout on disk, its class names, and the prompt they are put in."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Data sets are also passed on re-encoded; the names stay.
SUFFIXES = (".wav", ".ogg", ".flac", ".au")


class LayoutError(ValueError):
    """The folder does not hold the data set; the message shows the tree that was expected."""


@dataclass(frozen=True)
class Clip:
    path: Path
    label: str


@dataclass(frozen=True)
class Task:
    """`read` finds the clips under a folder; `folder` is where a collection of data sets keeps this one."""

    name: str
    title: str
    folder: str
    template: str
    layout: str
    read: Callable[[Path], list[Clip]]
    classes: tuple[str, ...] | None = None

    def clips(self, data: Path) -> list[Clip]:
        """All clips under `data` or its sub-folder of the task's name. Raises LayoutError where there is none."""
        for root in (data / self.folder, data):
            if clips := self.read(root):
                return clips
        raise LayoutError(f"{data} does not hold {self.title}; expected\n{self.layout}")


def existing(path: Path) -> Path | None:
    """`path`, or the same name with another audio suffix; None where there is neither."""
    return next((found for suffix in SUFFIXES if (found := path.with_suffix(suffix)).exists()), None)


def by_folder(root: Path, folders: dict[str, str]) -> list[Clip]:
    """Clips labelled by the folder they lie in."""
    return [
        Clip(path, label)
        for folder, label in folders.items()
        for path in sorted((root / folder).glob("*"))
        if path.suffix in SUFFIXES
    ]


def read_esc50(root: Path) -> list[Clip]:
    table = next(iter(sorted(root.glob("**/meta/esc50.csv"))), None)
    if table is None:
        return []
    clips = []
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            path = existing(table.parents[1] / "audio" / row["filename"])
            if path is not None:
                clips.append(Clip(path, row["category"].replace("_", " ")))
    return clips


def read_music_speech(root: Path) -> list[Clip]:
    for base in (root / "music_speech", root):
        if clips := by_folder(base, {"music_wav": "music", "speech_wav": "speech"}):
            return clips
    return []


def read_speech_commands(root: Path) -> list[Clip]:
    if not (root / "yes").is_dir():
        return []
    words = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("_"))
    return by_folder(root, {word: word for word in words})


TASKS = {
    task.name: task
    for task in (
        Task(
            "esc50",
            "ESC-50 (or its ESC-10 part)",
            "esc10",
            "this is a sound of {label}",
            "ESC-50-master/\n  meta/esc50.csv\n  audio/1-100032-A-0.wav …",
            read_esc50,
        ),
        Task(
            "gtzan-music-speech",
            "GTZAN music/speech",
            "gtzan_music_speech",
            "this is a sound of {label}",
            "music_speech/\n  music_wav/*.wav\n  speech_wav/*.wav",
            read_music_speech,
        ),
        Task(
            "speech-commands",
            "Speech Commands v2",
            "speech_commands",
            "{label}",
            "yes/*.wav\nno/*.wav\n… a folder a word",
            read_speech_commands,
        ),
    )
}
