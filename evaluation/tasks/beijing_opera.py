"""Beijing Opera percussion (Tian et al. 2014): four instruments, named by the file."""

import re
from pathlib import Path

from evaluation.layouts import recordings
from evaluation.task import Clip, Task

INSTRUMENTS = ("bangu", "daluo", "naobo", "xiaoluo")


def instrument(path: Path) -> str:
    """`4477__mtg__bangu-01` is a bangu."""
    last = path.stem.rsplit("__", 1)[-1]
    return next((part for part in last.split("-") if part in INSTRUMENTS), last)


def read(root: Path) -> list[Clip]:
    named = [path for path in recordings(root) if "__" in path.stem and re.search("|".join(INSTRUMENTS), path.stem)]
    return [Clip(path, (instrument(path),)) for path in named]


TASK = Task(
    name="beijing-opera",
    title="Beijing Opera",
    layout="""beijing_opera_percussion_instrument_1.0/
  4477__mtg__bangu-01.wav … daluo naobo xiaoluo""",
    read=read,
    classes=INSTRUMENTS,
    class_count=4,
    official={"all": 236},
)
