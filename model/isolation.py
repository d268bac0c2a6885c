"""Isolation of bad items: a batch that fails is split until the bad item is alone, and the others are embedded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from model.prompts import Embeddings

T = TypeVar("T")


class OutOfMemory(Exception):
    """The device has not enough memory for a batch of this size."""


class DeviceFault(Exception):
    """The device or the process can no longer be trusted; the worker must exit."""


@dataclass
class Outcome:
    """Embeddings [b, d] of a batch. `failed` gives the reason for each item without one, by index; its row is zero.

    `fits` is the largest number of items that ran at once after memory had run out, None if it did not run out.
    """

    vectors: Embeddings
    failed: dict[int, str] = field(default_factory=dict)
    fits: int | None = None


def embed_each(embed: Callable[[Sequence[T]], Embeddings], items: Sequence[T], dim: int) -> Outcome:
    """Embed a batch. A part that fails, or for which memory is too small, is halved and tried again.

    An item that fails alone, or whose embedding is not finite, is reported in the outcome. Raises DeviceFault.
    """
    outcome = Outcome(np.zeros((len(items), dim), np.float32))
    parts = [(0, len(items))]
    while parts:
        start, stop = parts.pop()
        try:
            vectors = embed(items[start:stop])
        except DeviceFault:
            raise
        except Exception as error:  # noqa: BLE001 - any exception of a single item is that item's failure
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
