"""The user's own recordings: a folder for each class, perhaps in train, val and test, or a table of labels."""

from dataclasses import replace
from pathlib import Path

from evaluation.layouts import by_folder, recordings, same
from evaluation.task import SUFFIXES, Clip, LayoutError, Split, Task
from model.tables import TableError, csv_rows

TABLE = "labels.csv"
LAYOUT = f"""my-recordings/              a folder for each class
  dog_bark/one.wav …
  siren/two.ogg …
my-recordings/              or such folders in train/, val/ and test/
  train/dog_bark/one.wav …
my-recordings/              or a table, paths relative to it
  {TABLE}                audio,label[,source]   source: what must not be in training and test of a probe at once
  anywhere/one.wav …"""


SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


def read(root: Path) -> list[Clip]:
    if (root / TABLE).exists():
        return listed(root / TABLE)
    if folders := class_folders(root):
        check_depth(root, folders)
        return by_folder(root, same(folders))
    parts = [child for child in subfolders(root) if class_folders(child)]
    if parts and all(part.name.lower() in SPLITS for part in parts):
        return [replace(clip, split=SPLITS[part.name.lower()]) for part in parts for clip in read(part)]
    if len(parts) > 1:
        raise LayoutError(
            f"{root}: several folders have a folder for each class ({', '.join(part.name for part in parts)}); "
            "give one of them, name them train, val and test, or write a table of labels"
        )
    return []


def subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []


def class_folders(root: Path) -> list[str]:
    """The folders in `root` that hold recordings, by name; none unless there are two."""
    folders = [child.name for child in subfolders(root) if recordings(child)]
    return folders if len(folders) >= 2 else []


def check_depth(root: Path, folders: list[str]) -> None:
    """Raises LayoutError where a folder of a class has recordings in a folder below it: their class is unclear."""
    for folder in folders:
        for path in (root / folder).rglob("*"):
            if path.parent != root / folder and path.suffix.lower() in SUFFIXES:
                raise LayoutError(
                    f"{path} lies in a folder inside the class folder {root / folder}; "
                    f"move it up, or name its class in {root / TABLE}"
                )


def read_single(root: Path) -> list[Clip]:
    clips = read(root)
    for clip in clips:
        if len(clip.labels) > 1:
            raise LayoutError(
                f"{clip.path} has the labels {', '.join(clip.labels)}, and accuracy needs one: "
                f"give each recording one label, or take the task {MANY.name}"
            )
    return clips


def listed(path: Path) -> list[Clip]:
    """The recordings of a table; one on several rows has several labels. Raises LayoutError naming a row's fault."""
    labels: dict[str, list[str]] = {}
    sources: dict[str, str] = {}
    try:
        for number, row in csv_rows(path, ("audio", "label")):
            audio, label = row["audio"].strip(), row["label"].strip()
            if not audio or not label:
                raise LayoutError(f"{path}:{number}: the row has no {'label' if audio else 'audio'}")
            labels.setdefault(audio, []).append(label)
            sources[audio] = row.get("source", "").strip()
    except TableError as error:
        raise LayoutError(str(error)) from None
    return [
        Clip(path.parent / audio, tuple(dict.fromkeys(names)), source=sources[audio]) for audio, names in labels.items()
    ]


def classes(root: Path) -> tuple[str, ...]:
    return tuple(sorted({label for clip in read(root) for label in clip.labels}))


TASK = Task(
    name="labelled",
    title="Labelled recordings",
    layout=LAYOUT,
    read=read_single,
    classes=classes,
    class_count=0,
    official={},
)
MANY = replace(TASK, name="labelled-many", title="Labelled recordings, several labels each", read=read, metric="mAP")
