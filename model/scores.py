"""From similarities to scores: softmax over the labels, sigmoid against the background, and the open-set score.

`similarity` is the cosine of an audio embedding and a label's prompt embedding; `scale` is the checkpoint's learned
logit scale. Arrays are [..., labels] or [..., background prompts] with any leading shape.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def logsumexp(x: Array) -> Array:
    """Over the last axis, kept as an axis of one."""
    peak = x.max(axis=-1, keepdims=True)
    total: Array = peak + np.log(np.exp(x - peak).sum(axis=-1, keepdims=True))
    return total


def log_sigmoid(x: Array) -> Array:
    return -np.logaddexp(0.0, -x)


def logits(similarity: Array, scale: float, negative: Array | None = None) -> Array:
    """`scale` x `similarity`; a label with negative prompts shares its mass with them.

    `negative` holds the similarity of each label's negative prompts, -inf where a label has none. The label keeps
    the part exp(s p) / (exp(s p) + exp(s n)) of its mass: all of it where the negatives are far, half where they tie.
    """
    scaled = scale * similarity.astype(np.float64)
    if negative is None:
        return scaled
    kept: Array = scaled + log_sigmoid(scaled - scale * negative.astype(np.float64))
    return kept


def softmax(label_logits: Array) -> Array:
    """Scores that sum to 1 over the labels: the labels are taken to be all there is (paper, section 3.2)."""
    scores: Array = np.exp(label_logits - logsumexp(label_logits))
    return scores


def open_set_softmax(label_logits: Array, background: Array, scale: float) -> tuple[Array, Array]:
    """Scores over labels and "none of these" together: ([..., labels], [...]), which sum to 1.

    "None of these" has the mass of all background prompts.
    """
    none = logsumexp(scale * background.astype(np.float64))
    both = softmax(np.concatenate([label_logits, none], axis=-1))
    return both[..., :-1], both[..., -1]


def contrast_sigmoid(label_logits: Array, background: Array, scale: float) -> Array:
    """Independent scores: each label alone against the background prompts.

    The label's part of a softmax over itself and the background prompts: 0.5 where it weighs as much as all of them,
    near 0 for an unrelated one. A sigmoid of the bare logit would give 0.5 at similarity 0.
    """
    scores: Array = np.exp(log_sigmoid(label_logits - logsumexp(scale * background.astype(np.float64))))
    return scores
