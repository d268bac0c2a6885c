"""The outcome of embedding a clip: embeddings, or the reason why there are none."""

from __future__ import annotations

from dataclasses import dataclass

from model.prompts import Embeddings
from service.api.problems import Code


@dataclass(frozen=True)
class ClipEmbeddings:
    """Embeddings [k, d] of a clip's windows, where they begin [k], and how long they and the clip are, in seconds."""

    starts_s: list[float]
    window_s: float
    duration_s: float
    vectors: Embeddings


@dataclass(frozen=True)
class ClipFailure:
    """The fault of one clip; the others still get scores."""

    code: Code
    detail: str


ClipOutcome = ClipEmbeddings | ClipFailure
