"""UrbanSound8K (Salamon et al. 2014): 10 classes of city sounds, 10 official folds by Freesound recording."""

from pathlib import Path

from evaluation.layouts import spoken, table
from evaluation.task import Clip, Task

CLASSES = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling", "engine_idling", "gun_shot",
    "jackhammer", "siren", "street_music",
)  # fmt: skip


def read(root: Path) -> list[Clip]:
    meta = root / "metadata/UrbanSound8K.csv"
    if not meta.exists():
        return []
    return [
        Clip(
            root / "audio" / f"fold{row['fold']}" / row["slice_file_name"],
            (spoken(row["class"]),),
            fold=int(row["fold"]),
            source=row["fsID"],
        )
        for row in table(meta)
    ]


TASK = Task(
    name="urbansound8k",
    title="UrbanSound8K",
    layout="""UrbanSound8K/
  metadata/UrbanSound8K.csv slice_file_name,fsID,start,end,salience,fold,classID,class
  audio/fold1/101415-3-0-2.wav … audio/fold10/…""",
    read=read,
    classes=tuple(map(spoken, CLASSES)),
    class_count=10,
    official={"all": 8_732},
    folds=10,
)
