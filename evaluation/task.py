"""A task: a data set in its official layout, with class names, prompt, metric and splits."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Metric = Literal["accuracy", "mAP", "F1"]
Split = Literal["", "train", "val", "test"]

# Copies of data sets are often re-encoded under the same names.
SUFFIXES = (".wav", ".ogg", ".flac", ".au", ".mp3", ".m4a", ".opus")


class LayoutError(ValueError):
    """The folder does not hold the data set, or too little of it; the message shows the expected tree."""


@dataclass(frozen=True)
class Clip:
    """One recording, or `duration_s` seconds of one from `start_s` on, and the classes it belongs to.

    `split` and `fold` (from 1) are the data set's own; "" and 0 where it has none. Clips with the same `source` (the
    original recording, the speaker) must not be in training and test at once; "" where it is unknown.
    """

    path: Path
    labels: tuple[str, ...]
    split: Split = ""
    fold: int = 0
    source: str = ""
    start_s: float = 0.0
    duration_s: float | None = None

    @property
    def label(self) -> str:
        return self.labels[0]

    @property
    def name(self) -> str:
        return self.path.name if self.duration_s is None else f"{self.path.name} from {self.start_s:g} s"


Reader = Callable[[Path], Sequence[Clip]]


@dataclass(frozen=True)
class Task:
    """The declaration of a task.

    `read` returns every clip that the data set's tables or folders name, whether or not the file exists, and an empty
    list for a folder that is not the data set. `classes` are the class names as used in prompts, or a function that
    reads them from the data set. `class_count` and `official` (clips per split, or "all") describe the complete data
    set. A data set without splits and folds of its own is divided into `folds` cross-validation folds.
    """

    name: str
    title: str
    layout: str
    read: Reader
    classes: tuple[str, ...] | Callable[[Path], tuple[str, ...]]
    class_count: int
    official: Mapping[str, int]
    template: str = "this is a sound of {label}"
    metric: Metric = "accuracy"
    folds: int = 5

    @property
    def multilabel(self) -> bool:
        return self.metric != "accuracy"

    def open(self, *folders: Path) -> DataSet:
        """Find the data set in or under `folders`. Raises LayoutError where it is not found or cannot be evaluated."""
        for root in roots(folders):
            try:
                if clips := self.read(root):
                    return self.data_set(root, clips)
            except LayoutError:
                raise
            except (ValueError, LookupError, csv.Error) as error:
                why = f"a table or list of {self.title} in {root} is not in its authors' format"
                raise LayoutError(f"{why} ({error!r}); expected\n{indented(self.layout)}") from None
        places = ", ".join(map(str, folders))
        raise LayoutError(f"{places} does not hold {self.title}; expected\n{indented(self.layout)}")

    def data_set(self, root: Path, named: Sequence[Clip]) -> DataSet:
        """The data set of the clips that `read` named, missing files and unknown classes apart. Raises LayoutError."""
        listed = self.classes(root) if callable(self.classes) else self.classes
        listing = Listing()
        missing, strangers, clips = [], [], []
        for clip in named:
            known = tuple(label for label in clip.labels if label in listed)
            strangers += [f"{clip.name}: {label!r}" for label in clip.labels if label not in listed]
            if not known:
                continue
            path = listing.find(clip.path)
            if path is None:
                missing.append(clip.name)
            else:
                clips.append(replace(clip, path=path, labels=known))
        present = {label for clip in clips for label in clip.labels}
        classes = tuple(name for name in listed if name in present)
        found = DataSet(self, root, classes, tuple(clips), tuple(missing), tuple(strangers))
        self.check(found)
        return found

    def check(self, found: DataSet) -> None:
        """Raises LayoutError where a figure over the clips that were found would mislead."""
        where = f"{self.title} in {found.root}"
        if not found.clips:
            why = (
                f"none of its {len(found.missing):,} recordings exists (the first is {found.missing[0]})"
                if found.missing
                else f"none of its class names is in the list (the first is {found.strangers[0]})"
            )
            raise LayoutError(f"{where}: {why}; expected\n{indented(self.layout)}")
        if len(found.classes) < 2:
            raise LayoutError(f"{where}: every clip is {found.classes[0]!r}, so any guess would be right")
        splits = Counter(clip.split for clip in found.clips)
        if set(splits) != {""} and not splits["test"]:
            held = ", ".join(f"{count:,} {split or 'unassigned'}" for split, count in splits.items())
            raise LayoutError(f"{where}: no clip of the test split exists, only {held}; expected\n{self.layout}")


@dataclass(frozen=True)
class DataSet:
    """A copy of a task's data set: the `clips` on disk, and the names of `missing` files and unknown classes.

    `classes` are those that a clip of this copy has, in the order of the task's list.
    """

    task: Task
    root: Path
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    missing: tuple[str, ...] = field(default=())
    strangers: tuple[str, ...] = field(default=())

    @property
    def test(self) -> tuple[Clip, ...]:
        """The clips that zero-shot is scored on: the test split, or all clips where there are only folds."""
        return tuple(clip for clip in self.clips if clip.split in ("", "test"))

    @property
    def partial(self) -> str:
        """What this copy lacks of the official data set; "" for a complete one."""
        counts: Counter[str] = Counter(clip.split or "all" for clip in self.clips if clip.duration_s is None)
        official = self.task.official
        if set(counts) == {"all"} and "all" not in official:
            official = {"all": sum(official.values())}
        lacks = [
            f"{counts[split]:,} of {count:,} {'clips' if split == 'all' else f'{split} clips'}"
            for split, count in official.items()
            if counts[split] < count
        ]
        if len(self.classes) < self.task.class_count:
            lacks.append(f"{len(self.classes)} of {self.task.class_count} classes")
        return ", ".join(lacks)


class Listing:
    """Looks files up, listing each folder once."""

    def __init__(self) -> None:
        self.folders: dict[Path, frozenset[str]] = {}

    def find(self, path: Path) -> Path | None:
        """`path`, or the same name with another audio suffix; None if neither exists."""
        if path.parent not in self.folders:
            there = path.parent.iterdir() if path.parent.is_dir() else ()
            self.folders[path.parent] = frozenset(entry.name for entry in there)
        names = self.folders[path.parent]
        candidates = (path.name, *(path.stem + suffix for suffix in SUFFIXES))
        return next((path.with_name(name) for name in candidates if name in names), None)


def roots(folders: Sequence[Path]) -> Iterator[Path]:
    """Folders in which a data set may be: the given ones, their subfolders, and the subfolders of those."""
    level = list(folders)
    for _ in range(3):
        yield from level
        level = [child for folder in level if folder.is_dir() for child in sorted(folder.iterdir()) if child.is_dir()]


def indented(layout: str) -> str:
    return "\n".join(f"  {line}" for line in layout.splitlines())
