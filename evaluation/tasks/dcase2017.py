"""DCASE 2017 task 4, audio tagging: 17 classes of warnings and vehicles from AudioSet, several per clip.

The paper does not name its threshold. The figure is micro F1 of the sigmoid scores at 0.5; mAP and the F1 of the best
label alone, which need no threshold, are reported as well.
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
    """The table of a split: in `groundtruth_release`, where its authors have it, or as copies have it."""
    file = f"groundtruth_weak_label_{name}_set.csv"
    places = (root / "groundtruth_release" / file, root / file, root / "metadata" / file)
    return next((path for path in places if path.exists()), None)


def audio(root: Path, name: str) -> Path:
    """The recordings of a split: the folder that the authors' script or archive makes, or one named as the split."""
    made = (path for path in sorted(root.glob(f"*{name}_set*_segment*")) if path.is_dir())
    return next(made, root / name)


def recording(file: str) -> str:
    """The name of a clip's file: `Y`, the video's id of 11 characters (which may begin with Y itself), start, end."""
    video, start, end = file.removeprefix("audio/").rsplit("_", 2)
    return f"{video if len(video) == 12 else f'Y{video}'}_{start}_{end}"


def read(root: Path) -> list[Clip]:
    tables = {name: truth(root, name) for name in ("training", "testing", "evaluation")}
    splits: dict[str, Split] = {"training": "train", "testing": "val", "evaluation": "test"}
    if tables["evaluation"] is None:  # published later than the rest; a copy without it is tested on the testing set
        splits["testing"] = "test"
    clips = []
    for name, path in tables.items():
        if path is None:
            continue
        labels: dict[str, list[str]] = {}
        for file, _, _, label in rows(path, "\t"):
            labels.setdefault(recording(file), []).append(label)
        folder = audio(root, name)
        for file, found in labels.items():
            source = file.rsplit("_", 2)[0]
            clips.append(Clip(folder / file, tuple(dict.fromkeys(found)), splits[name], source=source))
    return clips


TASK = Task(
    name="dcase2017-task4",
    title="DCASE2017 task 4",
    layout="""groundtruth_release/       or metadata/, or here
  groundtruth_weak_label_training_set.csv    file, start, end, label (tabs, no header, a row per label)
  groundtruth_weak_label_testing_set.csv
  groundtruth_weak_label_evaluation_set.csv
unbalanced_train_segments_training_set_audio_formatted_and_segmented_downloads/    or training/
  Y-5QrBL6MzLg_60.000_70.000.wav …
unbalanced_train_segments_testing_set_audio_formatted_and_segmented_downloads/     or testing/
evaluation_set_formatted_audio_segments/                                           or evaluation/""",
    read=read,
    classes=CLASSES,
    class_count=17,
    official={"train": 51_172, "val": 488, "test": 1_103},
    metric="F1",
)
