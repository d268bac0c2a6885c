"""AudioSet (Gemmeke et al. 2017): 527 classes, several per clip.

The balanced part is for training, the evaluation part for the test. Videos disappear, so every copy is partial.
"""

from pathlib import Path

from evaluation.layouts import rows, table
from evaluation.task import Clip, Split, Task

LABELS = "class_labels_indices.csv"
PARTS: dict[str, Split] = {"balanced_train_segments": "train", "eval_segments": "test"}


def names(root: Path) -> dict[str, str]:
    """{mid: display name} in the order of the indices."""
    return {row["mid"]: row["display_name"] for row in table(root / LABELS)}


def classes(root: Path) -> tuple[str, ...]:
    return tuple(names(root).values())


def read(root: Path) -> list[Clip]:
    if not (root / LABELS).exists() or not any((root / f"{part}.csv").exists() for part in PARTS):
        return []
    name = names(root)
    return [
        Clip(
            root / "audios" / part / f"Y{row[0]}.wav",
            tuple(name.get(mid, mid) for mid in row[3].split(",")),
            split,
            source=row[0],
        )
        for part, split in PARTS.items()
        if (root / f"{part}.csv").exists()
        for row in rows(root / f"{part}.csv")
    ]


TASK = Task(
    name="audioset",
    title="AudioSet",
    layout="""class_labels_indices.csv    index,mid,display_name
balanced_train_segments.csv YTID, start_seconds, end_seconds, positive_labels (three # lines)
eval_segments.csv
audios/balanced_train_segments/Y--PJHxphWEs.wav …
audios/eval_segments/Y--4gqARaEJE.wav …""",
    read=read,
    classes=classes,
    class_count=527,
    official={"train": 22_160, "test": 20_371},
    metric="mAP",
)
