"""What an API process may ask of the worker: embeddings of windows and prompts; and what may come back instead."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.config import ClapConfig

Vectors = npt.NDArray[np.float32]


class Priority(Enum):
    """Interactive work goes before bulk work, and bulk work is never starved."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True)
class ModelInfo:
    """What a worker says of the checkpoint it serves."""

    config: ClapConfig
    fingerprint: str
    logit_scale: float
    device: str
    dtype: str


@dataclass(frozen=True)
class Embedded:
    """L2-normalised float32 embeddings [n, d], and where the time went."""

    vectors: Vectors
    queue_s: float
    compute_s: float


class EmbeddingError(Exception):
    """The worker gave no embedding."""


class WorkerUnavailable(EmbeddingError):
    """No worker is ready, or the one that had the work died. `retry_after_s` is an estimate."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Overloaded(EmbeddingError):
    """The queue cannot take the work, or not before its deadline. `retry_after_s` comes from the drain rate."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(EmbeddingError):
    """The deadline passed before the work reached the device."""


class RejectedItem(EmbeddingError):
    """This very item made the forward pass fail, alone in its batch."""


@dataclass(frozen=True)
class Reservation:
    """Room in one worker's queue, for windows that are still being decoded."""

    worker: int
    id: int


class Embedder(Protocol):
    """Embeds windows [n, window_samples] float32 and prompts. `deadline` is in `time.monotonic()` seconds.

    The windows of one call share their fate: one call a clip. Cancelling the awaiting task drops the work before it
    reaches the device. All methods raise EmbeddingError.
    """

    @property
    def ready(self) -> bool:
        """Whether a worker is warm and answers."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the workers make progress. A worker that is being restarted does not count against it."""
        ...

    @property
    def info(self) -> ModelInfo:
        """Of the worker heard last. Raises WorkerUnavailable before the first one was ready."""
        ...

    def check(self, *, deadline: float, priority: Priority = Priority.INTERACTIVE) -> None:
        """Raises, without asking, what `reserve` would raise for a single window by all that is known here."""
        ...

    def reserve(
        self, windows: int, *, deadline: float, priority: Priority = Priority.INTERACTIVE
    ) -> AbstractAsyncContextManager[Reservation]:
        """Room for all clips of a request, before they are decoded: `async with embedder.reserve(n, ...) as room`.

        Entering raises Overloaded, at once, where the queue is full or the deadline cannot be met.
        """
        ...

    async def embed_audio(
        self,
        windows: Vectors,
        *,
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        reservation: Reservation | None = None,
    ) -> Embedded: ...

    async def embed_text(
        self, prompts: Sequence[str], *, deadline: float, priority: Priority = Priority.INTERACTIVE
    ) -> Embedded: ...
