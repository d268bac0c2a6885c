"""CREMA-D (Cao et al. 2014): six emotions by 91 actors, folds by actor."""

from pathlib import Path

from evaluation.layouts import recordings
from evaluation.task import Clip, Task

EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}


def read(root: Path) -> list[Clip]:
    clips = []
    for path in recordings(root / "AudioWAV"):
        actor, _, emotion, *_ = [*path.stem.split("_"), "", ""]
        clips.append(Clip(path, (EMOTIONS.get(emotion, emotion),), source=actor))
    return clips


TASK = Task(
    name="crema-d",
    title="CREMA-D",
    layout="""AudioWAV/
  1001_DFA_ANG_XX.wav …     actor_sentence_emotion_level""",
    read=read,
    classes=tuple(EMOTIONS.values()),
    class_count=6,
    official={"all": 7_442},
    template="this person is feeling {label}",
)
