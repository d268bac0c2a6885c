"""GTZAN genres (Tzanetakis and Cook 2002): 10 genres, 100 clips of 30 s each."""

from pathlib import Path

from evaluation.layouts import by_folder, same
from evaluation.task import Clip, Task

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")


def read(root: Path) -> list[Clip]:
    there = sum((root / genre).is_dir() for genre in GENRES)
    return by_folder(root, same(GENRES)) if there >= 2 else []


TASK = Task(
    name="gtzan-genres",
    title="GTZAN genres",
    layout="""genres/
  blues/blues.00000.wav …
  classical/classical.00000.wav …
  … country disco hiphop jazz metal pop reggae rock""",
    read=read,
    classes=GENRES,
    class_count=10,
    official={"all": 1_000},
    folds=10,
)
