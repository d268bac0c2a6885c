"""The labels of a command line: names, a file, folders of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anysound.console import fail
from anysound.options import utf8

if TYPE_CHECKING:
    from model.audio import Source
    from model.checkpoint import Checkpoint
    from model.classify import LabelEmbeddings
    from model.prompts import Label


@dataclass(frozen=True)
class GivenLabels:
    """Labels, the recordings that are examples of some of them by name, and the template of a labels file."""

    labels: tuple[Label, ...]
    examples: Mapping[str, Sequence[Source]]
    template: str | None

    @property
    def names(self) -> list[str]:
        return [label.name for label in self.labels]


def given_labels(names: Sequence[str], file: Path | None, folder: Path | None) -> GivenLabels:
    """The labels of `--labels FILE`, of `--label-dir DIR` and of each `--label`, in this order. Ends the command."""
    from bulk.labels import LabelsError, read_labels
    from model.prompts import Label

    labels: list[Label] = []
    examples: dict[str, Sequence[Source]] = {}
    template = None
    if file is not None:
        try:
            read = read_labels(file)
        except LabelsError as error:
            raise fail(str(error)) from None
        labels, examples, template = [*read.labels], {**read.examples}, read.template
    if folder is not None:
        from_folders = label_folders(folder)
        labels += map(Label, from_folders)
        examples |= from_folders
    labels += [Label(utf8(name, "a label")) for name in names]
    if not labels:
        raise fail("no label is given: use --label, --labels or --label-dir")
    return GivenLabels(tuple(labels), examples, template)


def label_folders(folder: Path) -> dict[str, list[Path]]:
    """The recordings in each folder of `folder`, by the folder's name. Ends the command where there are none."""
    from model.examples import MAX_EXAMPLES

    if not folder.is_dir():
        raise fail(f"{folder} is not a folder")
    found: dict[str, list[Path]] = {}
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        recordings = sorted(path for path in child.iterdir() if path.is_file() and not path.name.startswith("."))
        if not recordings:
            raise fail(f"{child} has no recording")
        if len(recordings) > MAX_EXAMPLES:
            raise fail(f"{child} has {len(recordings)} recordings, the limit is {MAX_EXAMPLES} examples of a label")
        found[utf8(child.name, "a label")] = recordings
    if not found:
        raise fail(f"{folder} has no folder: a folder for each label is needed, with recordings of its sound")
    return found


def embedded(checkpoint: Checkpoint, given: GivenLabels, template: str) -> LabelEmbeddings:
    """The labels as arrays. Ends the command for an example that cannot be read."""
    from model.classify import LabelPrompts
    from model.embed import embed_prompts, embed_windows
    from model.examples import ScaleMissing
    from model.labels import ExampleError, embed_labels

    config = checkpoint.config
    prompts = LabelPrompts(given.labels, template, config.prompts.background)
    try:
        return embed_labels(
            prompts, given.examples, config, partial(embed_windows, checkpoint), partial(embed_prompts, checkpoint)
        )
    except (ExampleError, ScaleMissing) as error:
        raise fail(str(error)) from None
