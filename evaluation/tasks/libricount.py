"""LibriCount (Stöter et al. 2018): how many of 0 to 10 people speak at once in 5 s."""

import re
from pathlib import Path

from evaluation.layouts import recordings
from evaluation.task import Clip, Task

COUNTS = tuple(map(str, range(11)))


def read(root: Path) -> list[Clip]:
    paths = [path for path in recordings(root / "test") if re.fullmatch(r"\d+_.+", path.stem)]
    return [Clip(path, (path.stem.split("_")[0],)) for path in paths]


TASK = Task(
    name="libricount",
    title="LibriCount",
    layout="""LibriCount10-0dB/
  test/0_00000000.wav …     count_number, with a .json each""",
    read=read,
    classes=COUNTS,
    class_count=11,
    official={"all": 5_720},
    template="{label} persons speaking",
)
