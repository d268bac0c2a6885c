"""From similarities to scores: softmax over the labels, sigmoid against the background, and the open-set score.

`similarity` is the cosine of an audio embedding and a label's prompt embedding; `scale` is the checkpoint's learned
logit scale. Arrays are [..., labels] or [..., background prompts] with any leading shape.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def logsumexp(x: Array) -> Array:
    """log(sum(exp(x))) over the last axis, which is kept with length 1."""
    peak = x.max(axis=-1, keepdims=True)
    total: Array = peak + np.log(np.exp(x - peak).sum(axis=-1, keepdims=True))
    return total


def log_sigmoid(x: Array) -> Array:
    return -np.logaddexp(0.0, -x)


def logits(similarity: Array, scale: float, negative: Array | None = None) -> Array:
    """`scale` x `similarity`, reduced by the share that a label's negative prompts take.

    `negative` [..., labels] holds the similarity of each label's negative prompts, -inf for a label without. The label
    keeps the share exp(s p) / (exp(s p) + exp(s n)) of its mass: all of it if the negatives are far, half at a tie.
    """
    scaled = scale * similarity.astype(np.float64)
    if negative is None:
        return scaled
    kept: Array = scaled + log_sigmoid(scaled - scale * negative.astype(np.float64))
    return kept


def softmax(label_logits: Array) -> Array:
    """Scores that sum to 1 over the labels, which are assumed to cover every sound (paper, section 3.2)."""
    scores: Array = np.exp(label_logits - logsumexp(label_logits))
    return scores


def open_set_softmax(label_logits: Array, background: Array, scale: float) -> tuple[Array, Array]:
    """Scores of the labels [..., labels] and of "none of these" [...], which together sum to 1.

    "None of these" gets the mass of all background prompts.
    """
    none = logsumexp(scale * background.astype(np.float64))
    both = softmax(np.concatenate([label_logits, none], axis=-1))
    return both[..., :-1], both[..., -1]


def contrast_sigmoid(label_logits: Array, background: Array, scale: float) -> Array:
    """Independent scores: a softmax over each label and the background prompts, of which the label's share is returned.

    It is 0.5 for a label with as much mass as all background prompts, and near 0 for an unrelated one. A sigmoid of the
    logit alone would give 0.5 at similarity 0.
    """
    scores: Array = np.exp(log_sigmoid(label_logits - logsumexp(scale * background.astype(np.float64))))
    return scores
