"""RAVDESS (Livingstone and Russo 2018): eight emotions spoken and sung by 24 actors, folds by actor."""

from pathlib import Path

from evaluation.layouts import recordings
from evaluation.task import Clip, Task

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
PARTS = ("", "Audio_Speech_Actors_01-24", "Audio_Song_Actors_01-24")


def read(root: Path) -> list[Clip]:
    clips = []
    for part in PARTS:
        for folder in sorted((root / part).glob("Actor_[0-9][0-9]")):
            for path in recordings(folder):
                fields = path.stem.split("-")
                code = int(fields[2]) if len(fields) == 7 and fields[2].isdigit() else 0
                label = EMOTIONS[code - 1] if 1 <= code <= len(EMOTIONS) else f"emotion {code}"
                clips.append(Clip(path, (label,), source=folder.name))
    return clips


TASK = Task(
    name="ravdess",
    title="RAVDESS",
    layout="""Audio_Speech_Actors_01-24/  (or Actor_01/ … without this folder)
  Actor_01/03-01-01-01-01-01-01.wav …   the third number is the emotion
Audio_Song_Actors_01-24/
  Actor_01/03-02-01-01-01-01-01.wav …""",
    read=read,
    classes=EMOTIONS,
    class_count=8,
    official={"all": 2_452},
    template="this person is feeling {label}",
)
