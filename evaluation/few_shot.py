"""Figures with examples: each class gets K clips of the other folds beside its name, drawn at random.

Every draw is made again for each K, from the same order of clips, so that the figures of one draw differ by K alone. In
each draw examples go to all classes, and to a random half of them: a user rarely has recordings for every label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evaluation import metrics
from evaluation.embeddings import Encoded
from evaluation.folds import Fold, make_folds, uncontaminated
from evaluation.metrics import Array, Indices, Truth
from evaluation.open_set import TURNS
from evaluation.task import DataSet, Metric
from evaluation.zero_shot import THRESHOLD, class_embeddings, truth_matrix
from model import scores
from model.checkpoint import Checkpoint
from model.classify import LabelEmbeddings
from model.config import ExampleScale
from model.examples import Prototype, with_examples
from model.prompts import Embeddings

SEED = 0


@dataclass(frozen=True)
class Draw:
    """One draw's figures: the task's metric with examples for all classes and for half of them.

    `none_of_these` and `sigmoid` are areas under the ROC curve of the open set (`evaluation.open_set`), by the open-set
    score and by one minus the best sigmoid score. None where they do not exist.
    """

    figure: float
    half: float | None = None
    none_of_these: float | None = None
    sigmoid: float | None = None


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation and least of a figure over the draws."""

    mean: float
    deviation: float
    least: float


@dataclass(frozen=True)
class FewShot:
    """All draws with `count` examples of each class; 0 is zero-shot, with one draw on the same clips.

    `short` is how many classes had fewer clips in some fold's training part, all of which were taken.
    """

    count: int
    draws: tuple[Draw, ...]
    short: int = 0

    def spread(self, name: str) -> Spread | None:
        """Of `figure`, `half`, `none_of_these` or `sigmoid`; None if the draws lack it."""
        values = [value for draw in self.draws if (value := getattr(draw, name)) is not None]
        return Spread(float(np.mean(values)), float(np.std(values)), min(values)) if values else None


def few_shot(
    checkpoint: Checkpoint, data_set: DataSet, encoded: Encoded, counts: Sequence[int], draws: int
) -> tuple[FewShot, ...]:
    """Zero-shot and each of `counts`, over all test parts. Raises FoldError where a fold is empty."""
    folds = make_folds(encoded.clips, data_set.task.folds)
    truth = truth_matrix(encoded.clips, data_set.classes)
    words = class_embeddings(checkpoint, data_set.classes, (data_set.task.template,))
    setting = Setting(data_set.task.metric, words, checkpoint.config.example_scale, checkpoint.logit_scale)
    tested = np.concatenate([fold.test for fold in folds])
    right = truth[tested]
    zero = setting.measured(setting.similarities(encoded.joint[tested]), encoded.joint[tested], right)
    made: dict[int, list[Draw]] = {count: [] for count in counts}
    short: dict[int, set[int]] = {count: set() for count in counts}
    for draw in range(draws):
        rng = np.random.default_rng((SEED, draw))
        half = set(rng.permutation(len(data_set.classes))[: len(data_set.classes) // 2].tolist())
        orders = [support(fold, truth, encoded.digests, rng) for fold in folds]
        for count in made:
            whole, part = [], []
            for fold, order in zip(folds, orders, strict=True):
                short[count] |= {row for row, clips in order.items() if len(clips) < count}
                prototypes = {row: Prototype.of(encoded.joint[clips[:count]]) for row, clips in order.items()}
                clips = encoded.joint[fold.test]
                whole.append(setting.similarities(clips, prototypes))
                if setting.scale is not None:
                    some = {row: each for row, each in prototypes.items() if row in half}
                    part.append(setting.similarities(clips, some))
            one = setting.measured(np.concatenate(whole), encoded.joint[tested], right)
            if part:
                others = setting.figure(np.concatenate(part), encoded.joint[tested], right)
                one = replace(one, half=others)
            made[count].append(one)
    rows = [FewShot(count, tuple(made[count]), len(short[count])) for count in sorted(made)]
    return (FewShot(0, (zero,)), *rows)


def support(fold: Fold, truth: Truth, digests: Sequence[bytes], rng: np.random.Generator) -> dict[int, Indices]:
    """The training clips of each class that has any, in a random order."""
    rows = rng.permutation(uncontaminated(fold.training, fold.test, digests))
    own = {number: rows[truth[rows, number]] for number in range(truth.shape[1])}
    return {number: clips for number, clips in own.items() if len(clips)}


@dataclass(frozen=True)
class Setting:
    """A task's metric, its class names as embeddings, and the checkpoint's scales."""

    metric: Metric
    words: LabelEmbeddings
    scale: ExampleScale | None
    logit_scale: float

    def similarities(self, clips: Embeddings, prototypes: dict[int, Prototype] | None = None) -> Array:
        """Similarities [clips, classes] with the prototypes of some classes."""
        if self.scale is None and prototypes and len(prototypes) < len(self.words.positive):
            prototypes = {}  # a class without a training clip: words alone for all, as the service would refuse
        rows, offsets = with_examples(self.words.positive, prototypes or {}, self.scale)
        return (clips @ rows.T).astype(np.float64) + offsets

    def figure(self, similarities: Array, clips: Embeddings, truth: Truth) -> float:
        """The task's metric; `truth` is [clips, classes]."""
        if self.metric == "accuracy":
            return metrics.accuracy(truth.argmax(axis=1), similarities)
        if self.metric == "F1":
            return metrics.micro_f1(truth, self.sigmoid(similarities, clips) >= THRESHOLD)
        return float(np.nanmean(metrics.average_precisions(truth, similarities)))

    def measured(self, similarities: Array, clips: Embeddings, truth: Truth) -> Draw:
        """The figures of one draw, without those for half of the classes."""
        figure = self.figure(similarities, clips, truth)
        classes = truth.shape[1]
        if self.metric != "accuracy" or classes < TURNS:
            return Draw(figure)
        background = self.background(clips)
        sigmoid = self.sigmoid(similarities, clips)
        none, least = [], []
        for turn in range(TURNS):
            held = np.arange(classes) % TURNS == turn
            stranger = held[truth.argmax(axis=1)]
            if stranger.all() or not stranger.any():
                continue
            known = self.logit_scale * similarities[:, ~held].astype(np.float64)
            none.append(metrics.auroc(stranger, scores.open_set_softmax(known, background, self.logit_scale)[1]))
            least.append(metrics.auroc(stranger, 1 - sigmoid[:, ~held].max(axis=1)))
        return Draw(figure, None, float(np.mean(none)), float(np.mean(least))) if none else Draw(figure)

    def background(self, clips: Embeddings) -> npt.NDArray[np.float64]:
        return (clips @ self.words.background.T).astype(np.float64)

    def sigmoid(self, similarities: Array, clips: Embeddings) -> Array:
        logits = self.logit_scale * similarities.astype(np.float64)
        return scores.contrast_sigmoid(logits, self.background(clips), self.logit_scale)
