"""The interface of a worker to an API process: embeddings of windows and prompts, and the errors instead of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.info import ModelInfo
from model.native import Recording

Vectors = npt.NDArray[np.float32]


class Priority(Enum):
    """Interactive work goes before bulk work; bulk work keeps a share, so it is never starved."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True)
class Embedded:
    """L2-normalised float32 embeddings [n, d], the seconds in the queue and the seconds of the last batch."""

    vectors: Vectors
    queue_s: float
    compute_s: float


class EmbeddingError(Exception):
    """There is no embedding: the base of all errors below."""


class WorkerUnavailable(EmbeddingError):
    """No worker is ready, or the one that had the work died. Retry after about `retry_after_s`."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class ModelReplaced(WorkerUnavailable):
    """The workers have changed to another model since the request began. A retry gets the new one."""

    def __init__(self) -> None:
        super().__init__("the model was replaced during the request", 1.0)


class Overloaded(EmbeddingError):
    """The queue has no room, or the deadline cannot be met. `retry_after_s` follows from the measured queue rate."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(EmbeddingError):
    """The deadline passed before the work reached the device."""


class RejectedItem(EmbeddingError):
    """The model fails on one of the items, even alone in its batch."""


@dataclass(frozen=True)
class Reservation:
    """Room in the queue of one worker for windows that are still being decoded."""

    worker: int
    id: int


class Embedder(Protocol):
    """Embeds windows float32 [n, window_samples], those of a recording that is not resampled yet, and prompts.

    `deadline` is in `time.monotonic()` seconds.
    If one window of a call fails, the whole call does, so each clip is a call of its own. Cancelling the awaiting task
    drops the work that has not reached the device. With `fingerprint`, embeddings come from that model or not at all.
    All methods raise EmbeddingError.
    """

    @property
    def ready(self) -> bool:
        """Whether a worker has loaded its model and answers."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the workers make progress. A worker that is being restarted is not counted as stuck."""
        ...

    @property
    def info(self) -> ModelInfo:
        """The model that is served, or was last. Raises WorkerUnavailable before the first worker was ready."""
        ...

    def check(self, *, deadline: float, priority: Priority = Priority.INTERACTIVE) -> None:
        """Raises, without asking a worker, the error that `reserve` is known to raise for a single window."""
        ...

    def reserve(
        self, windows: int, *, deadline: float, priority: Priority = Priority.INTERACTIVE
    ) -> AbstractAsyncContextManager[Reservation]:
        """Reserve room for clips that are not decoded yet: `async with embedder.reserve(n, ...) as room`.

        Raises Overloaded at once if the queue is full or the deadline cannot be met.
        """
        ...

    async def embed_audio(
        self,
        windows: Vectors | Recording,
        *,
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        reservation: Reservation | None = None,
        fingerprint: str | None = None,
    ) -> Embedded:
        """Embeddings of a clip's windows. Without a reservation, they are refused if there is no room for them."""
        ...

    async def embed_text(
        self,
        prompts: Sequence[str],
        *,
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        fingerprint: str | None = None,
    ) -> Embedded: ...
