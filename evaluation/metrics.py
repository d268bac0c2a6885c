"""Metrics, as scikit-learn computes them. `scores` are [clips, classes]; so is a multi-label `truth`.

A single-label `truth` [clips] holds class indices.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn import metrics

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.int64]
Truth = npt.NDArray[np.bool_]
Confusion = npt.NDArray[np.int64]


def accuracy(truth: Indices, scores: Array) -> float:
    """Share of clips whose highest-scored class is the true one."""
    return float(metrics.accuracy_score(truth, scores.argmax(axis=1)))


def top_k_accuracy(truth: Indices, scores: Array, k: int) -> float:
    """Share of clips with the true class among the k highest scores; ties go to the earlier class."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == truth[:, None]).any(axis=1).mean())


def confusion(truth: Indices, guesses: Indices, classes: int) -> Confusion:
    """Counts [true, guessed]."""
    counts: Confusion = metrics.confusion_matrix(truth, guesses, labels=np.arange(classes))
    return counts


def average_precisions(truth: Truth, scores: Array) -> npt.NDArray[np.float64]:
    """Average precision of each class [classes]; NaN for a class without clips."""
    return np.array(
        [
            metrics.average_precision_score(truth[:, index], scores[:, index]) if truth[:, index].any() else np.nan
            for index in range(truth.shape[1])
        ]
    )


def micro_f1(truth: Truth, guesses: Truth) -> float:
    """F1 over all pairs of clip and class."""
    return float(metrics.f1_score(truth, guesses, average="micro", zero_division=0))


def auroc(truth: Truth, scores: Array) -> float:
    """Area under the ROC curve of one yes-or-no question [clips]."""
    return float(metrics.roc_auc_score(truth, scores))


def one_hot(indices: Indices, classes: int) -> Truth:
    """Indices [clips] -> [clips, classes]."""
    table: Truth = np.arange(classes) == indices[:, None]
    return table
