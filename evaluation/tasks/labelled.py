"""Recordings of one's own: a folder for each class, or a table of labels."""

from dataclasses import replace
from pathlib import Path

from evaluation.layouts import by_folder, recordings, same
from evaluation.task import Clip, LayoutError, Task
from model.tables import TableError, csv_rows

TABLE = "labels.csv"
LAYOUT = f"""my-recordings/              a folder for each class
  dog_bark/one.wav …
  siren/two.ogg …
my-recordings/              or a table, paths relative to it
  {TABLE}                audio,label[,source]   source: what must not be in training and test of a probe at once
  anywhere/one.wav …"""


def read(root: Path) -> list[Clip]:
    if (root / TABLE).exists():
        return listed(root / TABLE)
    children = sorted(root.iterdir()) if root.is_dir() else ()
    folders = [child.name for child in children if recordings(child)]
    return by_folder(root, same(folders)) if len(folders) >= 2 else []


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
