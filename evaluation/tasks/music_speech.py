"""GTZAN music/speech (Tzanetakis): 64 clips of 30 s of each."""

from pathlib import Path

from evaluation.layouts import by_folder, holds
from evaluation.task import Clip, Task

FOLDERS = {"music_wav": "music", "speech_wav": "speech"}


def read(root: Path) -> list[Clip]:
    return by_folder(root, FOLDERS) if holds(root, tuple(FOLDERS)) else []


TASK = Task(
    name="gtzan-music-speech",
    title="GTZAN music/speech",
    layout="""music_speech/
  music_wav/bagpipe.wav …
  speech_wav/acomic.wav …""",
    read=read,
    classes=("music", "speech"),
    class_count=2,
    official={"all": 128},
    folds=10,
)
