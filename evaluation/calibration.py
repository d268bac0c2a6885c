"""Calibration: is a score of 0.8 right eight times in ten? (Guo et al. 2017, section 2)

Softmax scores are those of the best label of each clip, sigmoid scores those of every pair of clip and label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.embeddings import Encoded
from evaluation.metrics import Array, Truth
from evaluation.task import DataSet
from evaluation.zero_shot import class_embeddings, truth_matrix
from model.checkpoint import Checkpoint

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """For each non-empty bin of equal width: the number of scores, their mean, and the share that is right."""

    counts: tuple[int, ...]
    scores: tuple[float, ...]
    right: tuple[float, ...]

    @property
    def error(self) -> float:
        """Expected calibration error: the gap between score and share, weighted by the counts."""
        gaps = np.abs(np.array(self.scores) - np.array(self.right))
        return float(np.average(gaps, weights=self.counts))


@dataclass(frozen=True)
class Calibration:
    """`softmax` is None where a clip may have several classes."""

    softmax: Reliability | None
    sigmoid: Reliability


def reliability(scores: Array, right: Truth, bins: int = BINS) -> Reliability:
    """The reliability of scores [n] from 0 to 1; `right` [n] says which were right."""
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = counts > 0
    mean = np.bincount(place, scores, bins)[filled] / counts[filled]
    share = np.bincount(place, right, bins)[filled] / counts[filled]
    return Reliability(tuple(counts[filled].tolist()), tuple(mean.tolist()), tuple(share.tolist()))


def calibration(checkpoint: Checkpoint, data_set: DataSet, encoded: Encoded) -> Calibration:
    """The calibration of the checkpoint's scores with the task's own prompt."""
    test = encoded.of(data_set.test)
    truth = truth_matrix(test.clips, data_set.classes)
    labels = class_embeddings(checkpoint, data_set.classes, (data_set.task.template,))
    sigmoid = labels.score(test.joint, checkpoint.logit_scale, "sigmoid").score
    best = None
    if not data_set.task.multilabel:
        softmax = labels.score(test.joint, checkpoint.logit_scale, "softmax").score
        rows = np.arange(len(truth))
        best = reliability(softmax.max(axis=1), truth[rows, softmax.argmax(axis=1)])
    return Calibration(best, reliability(sigmoid.ravel(), truth.ravel()))
