"""Open set: does `none_of_these` detect clips of no given label? Classes are held out in turns.

Every fourth class is removed from the labels; its clips should then score high, the others low. The figure is the area
under the ROC curve, averaged over the four turns. The usual baseline, one minus the best softmax score, is given too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation import metrics
from evaluation.embeddings import Encoded
from evaluation.task import DataSet
from evaluation.zero_shot import class_embeddings, indices
from model.checkpoint import Checkpoint
from model.scores import open_set_softmax, softmax

TURNS = 4


@dataclass(frozen=True)
class OpenSet:
    """AUROC of `none_of_these` and of 1 - max softmax, each the mean over `turns` choices of held-out classes."""

    none_of_these: float
    max_softmax: float
    turns: int


def open_set(checkpoint: Checkpoint, data_set: DataSet, encoded: Encoded) -> OpenSet | None:
    """The open-set figures. None where clips may have several classes, or too few classes exist to hold some out."""
    classes = data_set.classes
    if data_set.task.multilabel or len(classes) < TURNS:
        return None
    test = encoded.of(data_set.test)
    truth = indices(test.clips, classes)
    labels = class_embeddings(checkpoint, classes, (data_set.task.template,))
    scale = checkpoint.logit_scale
    logits = scale * labels.similarity(test.joint)
    background = (test.joint @ labels.background.T).astype(np.float64)
    none, least = [], []
    for turn in range(TURNS):
        held = np.arange(len(classes)) % TURNS == turn
        stranger = held[truth]
        if stranger.all() or not stranger.any():
            continue
        known = logits[:, ~held]
        none.append(metrics.auroc(stranger, open_set_softmax(known, background, scale)[1]))
        least.append(metrics.auroc(stranger, 1 - softmax(known).max(axis=1)))
    return OpenSet(float(np.mean(none)), float(np.mean(least)), len(none)) if none else None
