"""Zero-shot figures of a run's start and of its result: what was learned, and what was forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from evaluation.embeddings import TooFewRead
from evaluation.tasks import TASKS, DataSet, LayoutError
from evaluation.zero_shot import evaluate
from model.checkpoint import load
from training.loop.run import Outcome
from training.loop.stop import TrainingStopped
from training.loop.validate import HELD_OUT
from training.recipe import Recipe, RecipeError, start_folder


@dataclass(frozen=True)
class Comparison:
    """A task's figure `before` and `after` the run."""

    task: str
    clips: int
    before: float
    after: float


def open_references(recipe: Recipe, folder: Path | None) -> list[DataSet]:
    """The data sets in `folder`, told by their layouts. Raises RecipeError where there is none, or no start."""
    if folder is None:
        return []
    if recipe.start.checkpoint is None:
        raise RecipeError("--reference compares with the checkpoint that the run starts from: give --start")
    found = []
    for task in TASKS.values():
        try:
            found.append(task.open(folder))
        except LayoutError:
            continue
    if not found:
        raise RecipeError(f"--reference: {folder} holds none of the data sets {', '.join(TASKS)}")
    return found


def compare(
    recipe: Recipe, data: Path, run: Path, outcome: Outcome, references: list[DataSet], device: torch.device
) -> list[Comparison]:
    """A row for each task that the final average was chosen on, the held-out recordings first, then for each reference.

    Raises TrainingStopped where too few clips of a reference can be read.
    """
    rows = [
        Comparison("held-out recordings" if name == HELD_OUT else name, outcome.held_out, outcome.before[name], after)
        for name, after in outcome.after.items()
    ]
    if not references or recipe.start.checkpoint is None:
        return rows
    try:
        before, after = (load(folder, device) for folder in (start_folder(recipe.start.checkpoint, data), run / "best"))
        for data_set in references:
            first, second = (evaluate(checkpoint, data_set) for checkpoint in (before, after))
            rows.append(Comparison(data_set.task.title, second.clips, first.figure, second.figure))
    except TooFewRead as error:
        raise TrainingStopped(f"--reference: {error}") from None
    return rows
