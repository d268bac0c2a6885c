"""Labels with example recordings: their prototypes, and similarities on the scale of text similarities. NumPy only.

With K examples, p their prototype, t the label's text and x a recording, the similarity is
(1 - w) x·t + w [tau0 + (x·p - a0) (tau1 - tau0) / (a1 - a0)], with w = K / (K + 3). The four constants are the
checkpoint's `ExampleScale`. They are needed because recordings are nearer to each other than to any text: unscaled,
labels with examples would win over labels without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.config import ExampleScale
from model.prompts import Embeddings, ensemble

TEXT_WEIGHT = 3
"""A label's text weighs as much as this number of examples; chosen on training recordings (docs/examples.md)."""
KIND = 10
"""A caption that so many recordings have names a kind of sound, as labels do."""
MAX_EXAMPLES = 32
"""The largest number of examples of one label."""


class ScaleMissing(ValueError):
    """Only some labels have examples, and the checkpoint has no `ExampleScale`."""

    def __init__(self) -> None:
        super().__init__(
            "only some labels have examples, and this checkpoint lacks the constants that make them comparable with "
            "the others: give every label examples, or run `anysound checkpoint calibrate CHECKPOINT DATA`"
        )


@dataclass(frozen=True, eq=False)
class Prototype:
    """The normalised mean [d] of the clip embeddings of `count` examples (Snell et al. 2017), in half precision."""

    mean: Embeddings
    count: int

    @classmethod
    def of(cls, examples: Embeddings) -> Prototype:
        """The prototype of L2-normalised clip embeddings [count, d]."""
        # As it is stored: a registered label scores as one whose examples are sent.
        return cls(ensemble(examples).astype(np.float16).astype(np.float32), len(examples))


def check_scale(labels: int, with_examples: int, scale: ExampleScale | None) -> None:
    """Raise ScaleMissing if `with_examples` of `labels` cannot be compared with the others."""
    if scale is None and 0 < with_examples < labels:
        raise ScaleMissing


def with_examples(
    texts: Embeddings, prototypes: Mapping[int, Prototype], scale: ExampleScale | None
) -> tuple[Embeddings, npt.NDArray[np.float64]]:
    """Rows [labels, d] and offsets [labels], so that a recording x has the similarities x @ rows.T + offsets.

    `texts` [labels, d] are the labels' text embeddings, `prototypes` those of some labels by row. Without a scale every
    label needs examples: the rows are the directions of (1 - w) t + w p, where w is that of the label with the fewest
    examples, so that all rows are mixed alike. Raises ScaleMissing.
    """
    check_scale(len(texts), len(prototypes), scale)
    rows, offsets = texts.copy(), np.zeros(len(texts))
    fewest = min((each.count for each in prototypes.values()), default=0)
    for row, prototype in prototypes.items():
        weight = share(prototype.count if scale is not None else fewest)
        if scale is None:
            mixed = (1 - weight) * texts[row] + weight * prototype.mean
            rows[row] = mixed / max(float(np.linalg.norm(mixed)), 1e-12)
        else:
            gain = (scale.tau1 - scale.tau0) / (scale.a1 - scale.a0)
            rows[row] = (1 - weight) * texts[row] + weight * gain * prototype.mean
            offsets[row] = weight * (scale.tau0 - gain * scale.a0)
    return rows, offsets


def share(count: int) -> float:
    """The weight of `count` examples in a label's similarity, in 0 to 1; the text has the rest."""
    return count / (count + TEXT_WEIGHT)


def measured(audio: Embeddings, captions: Sequence[int], texts: Embeddings) -> ExampleScale:
    """The constants, measured on L2-normalised recordings [n, d] with the texts [m, d] that `captions` [n] number.

    A right pair is a recording and its caption, or two recordings with the same caption; other pairs are unrelated.
    Captions count that several recordings have, `KIND` or more if two captions have so many: what only one recording
    is called describes it, and few recordings are often pieces of one. Every caption, and every pair of captions,
    weighs the same. Raises ValueError if there are no two such captions, or if right pairs are not nearer.
    """
    place = np.asarray(captions)
    counts = np.bincount(place, minlength=len(texts)).astype(np.float64)
    sums = np.zeros((len(texts), audio.shape[1]))
    np.add.at(sums, place, audio)
    kinds = counts >= (KIND if (counts >= KIND).sum() >= 2 else 2)
    if kinds.sum() < 2:
        raise ValueError("at least two captions that several recordings have are needed")
    sums, counts, words = sums[kinds], counts[kinds], texts[kinds].astype(np.float64)
    means = sums / counts[:, None]
    text, between = means @ words.T, means @ means.T
    # The mean over pairs of different recordings: each recording's cosine with itself is 1.
    within = ((sums**2).sum(axis=1) - counts) / (counts * (counts - 1))
    constants = (_off_diagonal(text), float(np.trace(text)) / len(text), _off_diagonal(between), float(within.mean()))
    tau0, tau1, a0, a1 = (round(value, 4) for value in constants)
    return ExampleScale(tau0=tau0, tau1=tau1, a0=a0, a1=a1)


def _off_diagonal(square: npt.NDArray[np.float64]) -> float:
    """The mean of a square matrix without its diagonal."""
    return float((square.sum() - np.trace(square)) / (square.size - len(square)))
