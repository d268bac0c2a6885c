"""The outcome of embedding a clip: embeddings, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.prompts import Embeddings
from service.api.problems import Code


@dataclass(frozen=True)
class Windows:
    """Windows of a clip, `hop_s` seconds apart: where they begin [k], in seconds, and their embeddings [k, d]."""

    hop_s: float
    starts_s: Sequence[float]
    vectors: Embeddings


@dataclass(frozen=True)
class ClipEmbeddings:
    """The windows of a clip as the checkpoint cuts it, and how long they and the clip are, in seconds.

    `sliding` are the windows that the request's `hop_s` asks for; the checkpoint's own if it asks for none.
    """

    own: Windows
    sliding: Windows
    window_s: float
    duration_s: float

    @property
    def vectors(self) -> Embeddings:
        """Embeddings [k, d] of the checkpoint's own windows."""
        return self.own.vectors


@dataclass(frozen=True)
class ClipFailure:
    """The fault of one clip; the others still get scores."""

    code: Code
    detail: str


ClipOutcome = ClipEmbeddings | ClipFailure
