"""DCASE 2017 task 4, audio tagging: 17 classes of warnings and vehicles from AudioSet, several a clip.

The paper does not name its threshold: the figure here is micro F1 of the sigmoid scores at 0.5, beside mAP and the F1
of the best label alone, which need none.
"""

from pathlib import Path

from evaluation.layouts import rows
from evaluation.task import Clip, Split, Task

CLASSES = (
    "Train horn",
    "Air horn, truck horn",
    "Car alarm",
    "Reversing beeps",
    "Ambulance (siren)",
    "Police car (siren)",
    "Fire engine, fire truck (siren)",
    "Civil defense siren",
    "Screaming",
    "Bicycle",
    "Skateboard",
    "Car",
    "Car passing by",
    "Bus",
    "Truck",
    "Motorcycle",
    "Train",
)


def truth(root: Path, name: str) -> Path | None:
    file = f"groundtruth_weak_label_{name}_set.csv"
    return next((path for path in (root / file, root / "metadata" / file) if path.exists()), None)


def read(root: Path) -> list[Clip]:
    tables = {name: truth(root, name) for name in ("training", "testing", "evaluation")}
    splits: dict[str, Split] = {"training": "train", "testing": "val", "evaluation": "test"}
    if tables["evaluation"] is None:  # it came later than the rest; a copy without it is tested on the testing set
        splits["testing"] = "test"
    clips = []
    for name, path in tables.items():
        if path is None:
            continue
        labels: dict[str, list[str]] = {}
        for file, _, _, label in rows(path, "\t"):
            labels.setdefault(file.removeprefix("audio/"), []).append(label)
        for file, found in labels.items():
            recording = file if file.startswith("Y") else f"Y{file}"
            source = recording.rsplit("_", 2)[0]
            clips.append(Clip(root / name / recording, tuple(dict.fromkeys(found)), splits[name], source=source))
    return clips


TASK = Task(
    name="dcase2017-task4",
    title="DCASE2017 task 4",
    layout="""groundtruth_weak_label_training_set.csv    file, start, end, label (tabs, no header, a row a label),
groundtruth_weak_label_testing_set.csv     here or in metadata/
groundtruth_weak_label_evaluation_set.csv
training/Y-5QrBL6MzLg_60.000_70.000.wav …
testing/…
evaluation/…""",
    read=read,
    classes=CLASSES,
    class_count=17,
    official={"train": 51_172, "val": 488, "test": 1_103},
    metric="F1",
)
