"""Scores of labels for audio embeddings: the prompts to embed, and the scores computed from them. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from model import scores
from model.config import ExampleScale
from model.examples import Prototype, with_examples
from model.prompts import Embeddings, Label, ensemble, prompts_of

Activation = Literal["softmax", "sigmoid"]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """`similarity` and `score` are [..., labels]; `none_of_these` is [...], or None if it was not requested."""

    similarity: Array
    score: Array
    none_of_these: Array | None


@dataclass(frozen=True)
class LabelEmbeddings:
    """One row per label: `positive` [labels, d], `negative` [labels, d] (zeros without), `background` [prompts, d].

    `offset` [labels] is added to the similarities; it is zero for labels without examples.
    """

    positive: Embeddings
    negative: Embeddings
    has_negative: npt.NDArray[np.bool_]
    background: Embeddings
    offset: Array

    def similarity(self, audio: Embeddings) -> Array:
        """Similarities [..., labels] of L2-normalised audio embeddings [..., d]."""
        return (audio @ self.positive.T).astype(np.float64) + self.offset

    def score(self, audio: Embeddings, scale: float, activation: Activation, none_of_these: bool = False) -> Scores:
        """Score L2-normalised audio embeddings [..., d] with the checkpoint's logit `scale`."""
        similarity = self.similarity(audio)
        negative = None
        if self.has_negative.any():
            negative = np.where(self.has_negative, (audio @ self.negative.T).astype(np.float64), -np.inf)
        label_logits = scores.logits(similarity, scale, negative)
        if activation == "softmax" and not none_of_these:
            return Scores(similarity, scores.softmax(label_logits), None)
        background = (audio @ self.background.T).astype(np.float64)
        score, none = scores.open_set_softmax(label_logits, background, scale)
        if activation == "sigmoid":
            score = scores.contrast_sigmoid(label_logits, background, scale)
        return Scores(similarity, score, none if none_of_these else None)


@dataclass(frozen=True)
class LabelPrompts:
    """The prompts to embed for a list of labels."""

    labels: tuple[Label, ...]
    template: str
    background: tuple[str, ...]

    @property
    def prompts(self) -> list[str]:
        """The distinct prompts, in a fixed order."""
        positive = [prompt for label in self.labels for prompt in prompts_of(label, self.template)]
        negative = [prompt for label in self.labels for prompt in label.negative_prompts]
        return list(dict.fromkeys([*positive, *negative, *self.background]))

    def assemble(
        self,
        embeddings: Mapping[str, Embeddings],
        prototypes: Mapping[str, Prototype] | None = None,
        scale: ExampleScale | None = None,
    ) -> LabelEmbeddings:
        """Combine the embedding [d] of each prompt, and the prototypes of labels by name, into one row per label.

        `scale` is the checkpoint's. Raises KeyError for a prompt without an embedding, ScaleMissing if only some labels
        have a prototype and there is no scale.
        """

        def row(prompts: Iterable[str]) -> Embeddings:
            return ensemble(np.stack([embeddings[prompt] for prompt in prompts]))

        positive = np.stack([row(prompts_of(label, self.template)) for label in self.labels])
        has_negative = np.array([bool(label.negative_prompts) for label in self.labels])
        negative = np.zeros_like(positive)
        for index in np.flatnonzero(has_negative):
            negative[index] = row(self.labels[index].negative_prompts)
        background = np.stack([embeddings[prompt] for prompt in self.background])
        given = prototypes or {}
        by_row = {row: given[label.name] for row, label in enumerate(self.labels) if label.name in given}
        positive, offset = with_examples(positive, by_row, scale)
        return LabelEmbeddings(positive, negative, has_negative, background, offset)


def clip_embedding(windows: Embeddings) -> Embeddings:
    """Window embeddings [k, d] of one clip -> its embedding [d]: their mean, normalised."""
    return ensemble(windows)


def ranked(names: Sequence[str], score: Array, similarity: Array, top_k: int | None) -> list[tuple[str, float, float]]:
    """(name, score, similarity) best first; equal scores keep the order of the labels."""
    order = np.argsort(-score, kind="stable")[:top_k]
    return [(names[i], float(score[i]), float(similarity[i])) for i in order]
