"""What a run and its reader processes say to each other. Samples are in shared memory."""

from __future__ import annotations

from dataclasses import dataclass

from bulk.item import Failure, Item
from bulk.setup import ReaderSetup


@dataclass(frozen=True)
class Begin:
    """The first message to a reader. It has `slots` slots of `slot_samples` samples in shared memory."""

    setup: ReaderSetup
    slots: int
    slot_samples: int


@dataclass(frozen=True, slots=True)
class Read:
    """To a reader: read an item."""

    number: int
    item: Item


@dataclass(frozen=True, slots=True)
class Free:
    """To a reader: a slot may be filled again."""

    slot: int


@dataclass(frozen=True, slots=True)
class Ready:
    """From a reader: it has started."""


@dataclass(frozen=True, slots=True)
class Native:
    """Samples that the engine resamples: 16-bit integers at `rate` Hz, of a whole item.

    `length` is the item's, in samples at the model's rate.
    """

    rate: int
    length: int


@dataclass(frozen=True, slots=True)
class Filled:
    """From a reader: a slot has `count` samples of an item, with the windows of `bulk.cutting.Piece`.

    Samples are float32 at the model's rate, unless `native` says what they are.
    """

    number: int
    slot: int
    at: int
    count: int
    windows: tuple[tuple[int, int], ...]
    native: Native | None = None


@dataclass(frozen=True, slots=True)
class Void:
    """From a reader: forget the item's windows so far; it is read again, by another channel."""

    number: int


@dataclass(frozen=True, slots=True)
class Done:
    """From a reader: the item has ended. `failure` says why it has no scores, if so."""

    number: int
    content_hash: str | None
    duration_s: float | None
    failure: Failure | None


FromReader = Ready | Filled | Void | Done
