"""One bad item costs no other item its embedding: failed batches are split until the bad one stands alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from service.ipc.embedding import Vectors

T = TypeVar("T")


class OutOfMemory(Exception):
    """The device has no room for a batch of this size."""


class DeviceFault(Exception):
    """The device or the process can no longer be trusted; the worker must end."""


@dataclass
class Outcome:
    """Embeddings [b, d] of a batch, and by index the items that have none, with the reason.

    Rows of failed items hold zeros. `fits` is the largest number of items that ran at once after memory ran out,
    None where it did not.
    """

    vectors: Vectors
    failed: dict[int, str] = field(default_factory=dict)
    fits: int | None = None


def embed_each(embed: Callable[[Sequence[T]], Vectors], items: Sequence[T], dim: int) -> Outcome:
    """Embed a batch. A part that fails is halved, and so is one that memory has no room for.

    An item that fails alone, or whose embedding is not finite, is reported, and the rest go on. Raises DeviceFault.
    """
    outcome = Outcome(np.zeros((len(items), dim), np.float32))
    parts = [(0, len(items))]
    while parts:
        start, stop = parts.pop()
        try:
            vectors = embed(items[start:stop])
        except DeviceFault:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an item provokes is that item's failure
            if stop - start == 1:
                outcome.failed[start] = f"{type(error).__name__}: {error}"
                continue
            middle = (start + stop + 1) // 2
            if isinstance(error, OutOfMemory):
                outcome.fits = min(outcome.fits or middle - start, middle - start)
            parts += [(middle, stop), (start, middle)]
            continue
        finite = np.isfinite(np.abs(vectors).sum(axis=1))
        outcome.vectors[start:stop] = np.where(finite[:, np.newaxis], vectors, 0.0)
        for row in np.flatnonzero(~finite):
            outcome.failed[start + int(row)] = "the embedding is not finite"
    return outcome
