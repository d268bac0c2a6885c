"""Prompts and thresholds for labels, chosen on one's own recordings and judged by cross-validation.

Each label is a yes-or-no question by itself, answered by its sigmoid score. Of a bank of prompts the one with the best
average precision is taken, and the threshold with the best F1, or the one with the most recall at a wanted precision.
Both are chosen on the training part of each fold and judged on its test part, so that the figures hold for recordings
that nothing was chosen on. What does not help there is not changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from evaluation.embeddings import Encoded
from evaluation.folds import Fold, make_folds
from evaluation.metrics import Truth
from evaluation.prompt_study import TEMPLATES
from model import scores
from model.checkpoint import Checkpoint
from model.embed import embed_prompts
from model.prompts import Label, ensemble, fill, prompts_of

DEFAULT_THRESHOLD = 0.5
FOLDS = 5

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Precision, recall and F1 over the test parts of all folds."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True)
class Tuned:
    """A label as it was chosen, on how many of its recordings, and what cross-validation says.

    `before`: as it was given. `with_threshold`: with a threshold of its own. `with_prompts`: with prompts as well.
    `label` is the best of the three.
    """

    label: Label
    recordings: int
    before: Judged
    with_threshold: Judged
    with_prompts: Judged
    chosen: str

    @property
    def judged(self) -> Judged:
        """The figures of what was chosen."""
        judged: Judged = getattr(self, self.chosen)
        return judged


def bank(label: Label, template: str) -> dict[tuple[str, ...], None]:
    """The prompts to choose from, each a tuple that is averaged; what the label has now comes first."""
    own = prompts_of(label, template)
    filled = tuple(fill(each, label.name) for each in (template, *TEMPLATES))
    return dict.fromkeys([own, *((each,) for each in own), *((each,) for each in filled), tuple(dict.fromkeys(filled))])


def tune(
    checkpoint: Checkpoint,
    labels: Sequence[Label],
    encoded: Encoded,
    template: str,
    precision: float | None = None,
    folds: int = FOLDS,
) -> list[Tuned]:
    """Each label with prompts and a threshold chosen on the recordings, whose labels are names of `labels` or others.

    With `precision`, thresholds have the most recall at that precision instead of the best F1. Raises FoldError.
    """
    clips = [replace(clip, split="", fold=0) for clip in encoded.clips]
    parts = make_folds(clips, folds)
    banks = [bank(label, template) for label in labels]
    background = checkpoint.config.prompts.background
    texts = list(
        dict.fromkeys(
            [prompt for each in banks for prompts in each for prompt in prompts]
            + [prompt for label in labels for prompt in label.negative_prompts]
            + [*background]
        )
    )
    vectors = dict(zip(texts, embed_prompts(checkpoint, texts), strict=True))
    scale = checkpoint.logit_scale

    def similarity(prompts: Sequence[str]) -> Scores:
        return (encoded.joint @ ensemble(np.stack([vectors[each] for each in prompts]))).astype(np.float64)

    contrast = (encoded.joint @ np.stack([vectors[each] for each in background]).T).astype(np.float64)
    tuned = []
    for label, candidates in zip(labels, banks, strict=True):
        truth = np.array([label.name in clip.labels for clip in clips])
        negative = similarity(label.negative_prompts)[:, None] if label.negative_prompts else None
        logits = scores.logits(np.stack([similarity(each) for each in candidates], axis=1), scale, negative)
        sigmoid = scores.contrast_sigmoid(logits, contrast, scale).T
        tuned.append(tuned_label(label, list(candidates), sigmoid, truth, parts, precision))
    return tuned


def tuned_label(
    label: Label,
    candidates: Sequence[tuple[str, ...]],
    sigmoid: Scores,
    truth: Truth,
    folds: Sequence[Fold],
    precision: float | None,
) -> Tuned:
    """One label from its scores [candidates, recordings]; the first candidate is what it has now."""
    given = DEFAULT_THRESHOLD if label.threshold is None else label.threshold
    guesses = {name: np.zeros(len(truth), bool) for name in ("before", "with_threshold", "with_prompts")}
    for fold in folds:
        rows, test = fold.training, fold.test
        best = best_candidate(sigmoid[:, rows], truth[rows])
        guesses["before"][test] = sigmoid[0, test] > given
        for name, candidate in (("with_threshold", 0), ("with_prompts", best)):
            threshold = best_threshold(sigmoid[candidate, rows], truth[rows], given, precision)
            guesses[name][test] = sigmoid[candidate, test] > threshold
    figures = {name: judged(truth, guessed) for name, guessed in guesses.items()}
    order = list(figures) if precision is None else list(figures)[1:]
    chosen = max(order, key=lambda name: worth(figures[name], precision))
    best = best_candidate(sigmoid, truth) if chosen == "with_prompts" else 0
    if chosen != "before":
        threshold = float(f"{best_threshold(sigmoid[best], truth, given, precision):.6g}")
        label = replace(label, threshold=threshold)
    if best:
        label = replace(label, prompts=candidates[best])
    return Tuned(label, int(truth.sum()), figures["before"], figures["with_threshold"], figures["with_prompts"], chosen)


def worth(figures: Judged, precision: float | None) -> tuple[bool, float]:
    """What the better choice has more of: F1; or the recall of those that reach the wanted precision."""
    if precision is None:
        return True, figures.f1
    reached = figures.precision >= precision
    return reached, figures.recall if reached else figures.precision


def best_candidate(sigmoid: Scores, truth: Truth) -> int:
    """The candidate with the highest average precision; the first of equal ones."""
    if not truth.any():
        return 0
    return int(np.argmax([average_precision_score(truth, each) for each in sigmoid]))


def best_threshold(sigmoid: Scores, truth: Truth, given: float, precision: float | None) -> float:
    """The threshold with the best F1, or the most recall at a precision; halfway between two scores.

    If no threshold reaches the precision, the one that comes nearest. `given` if the label has no recording.
    """
    if not truth.any():
        return given
    order = np.argsort(-sigmoid, kind="stable")
    ranked, right = sigmoid[order], np.cumsum(truth[order])
    taken = np.arange(1, len(ranked) + 1)
    cuts = np.append(ranked[:-1] > ranked[1:], True)  # equal scores are on one side
    precisions, recalls = right / taken, right / truth.sum()
    if precision is None:
        value = np.where(cuts, 2 * precisions * recalls / np.maximum(precisions + recalls, 1e-12), -1.0)
    elif (cuts & (precisions >= precision)).any():
        value = np.where(cuts & (precisions >= precision), recalls, -1.0)
    else:
        value = np.where(cuts, precisions, -1.0)
    last = int(np.argmax(value))
    below = ranked[last + 1] if last + 1 < len(ranked) else 0.0
    return float((ranked[last] + below) / 2)


def judged(truth: Truth, guesses: Truth) -> Judged:
    hits = float((truth & guesses).sum())
    return Judged(hits / max(float(guesses.sum()), 1.0), hits / max(float(truth.sum()), 1.0))


def label_set(tuned: Sequence[Tuned], template: str | None) -> Mapping[str, Any]:
    """A label set, as `PUT /v1/label-sets/{id}` takes it."""
    rows = []
    for each in tuned:
        label = each.label
        row: dict[str, Any] = {"name": label.name, "prompts": label.prompts, "negative_prompts": label.negative_prompts}
        row = {name: list(value) if name != "name" else value for name, value in row.items() if value}
        rows.append(row if label.threshold is None else row | {"threshold": label.threshold})
    return {"labels": rows} if template is None else {"labels": rows, "template": template}
