"""The paper's table 2 for any recipe: zero-shot figures with either, both or neither encoder frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.loop.metrics import EPOCHS, read_lines
from training.loop.ranks import Ranks
from training.loop.run import train
from training.recipe import Freeze, Recipe, RecipeError

# (audio frozen, text frozen) -> the paper's average over 16 tasks and its ESC-50, for CNN14 and BERT.
PAPER = {
    (False, False): (0.3265, 0.826),
    (False, True): (0.2818, 0.6415),
    (True, False): (0.3109, 0.7631),
    (True, True): (0.2809, 0.5555),
}


@dataclass(frozen=True)
class Row:
    """The figures [seeds] of each task after the last epoch of every seed's run."""

    freeze: Freeze
    figures: dict[str, list[float]]

    @property
    def means(self) -> list[float]:
        """The mean over tasks [seeds]."""
        means: list[float] = np.mean(list(self.figures.values()), axis=0).tolist()
        return means

    @property
    def paper(self) -> tuple[float, float]:
        return PAPER[self.freeze.audio, self.freeze.text]


def spread(values: Sequence[float]) -> str:
    """The mean and, for two seeds or more, the sample standard deviation."""
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.3f}"


def table2(recipe: Recipe, data: Path, out: Path, seeds: Sequence[int], ranks: Ranks) -> Iterator[Row]:
    """Train the four rows with every seed, each run in its own folder under `out`; finished runs are not repeated.

    Raises RecipeError where the recipe has no tasks, and what `train` raises.
    """
    if not recipe.validation.tasks:
        raise RecipeError("validation.tasks: the table needs at least one task")
    for audio, text in PAPER:
        freeze = Freeze(audio=audio, text=text)
        figures: dict[str, list[float]] = {name: [] for name in recipe.validation.tasks}
        for seed in seeds:
            run = out / f"audio-{'frozen' if audio else 'trained'}-text-{'frozen' if text else 'trained'}-seed-{seed}"
            if not train(recipe.model_copy(update={"freeze": freeze, "seed": seed}), data, run, ranks).finished:
                return
            last = read_lines(run / EPOCHS)[-1]["zero_shot"]
            for name, found in figures.items():
                found.append(last[name])
        yield Row(freeze, figures)
