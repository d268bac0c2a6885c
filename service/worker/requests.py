"""The work of the queue: requests, their items, and the batches made of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from service.ipc.embedding import Priority


class Kind(Enum):
    """Windows and prompts go through different encoders, so a batch holds one kind."""

    AUDIO = "audio"
    TEXT = "text"


@dataclass(eq=False, slots=True)
class Request:
    """Items that were sent together: windows of one clip, or prompts.

    Requests of the same `group` belong to one caller's request and share its turns and its reservation. `costs` has one
    entry per item, in seconds of audio or in tokens. `deadline` and `arrived` are in `time.monotonic()` seconds.
    `payload` belongs to the caller. Items before `taken` have left the queue, and `cost` is the cost of the others.
    """

    id: Hashable
    group: Hashable
    kind: Kind
    priority: Priority
    costs: Sequence[float]
    deadline: float
    arrived: float
    payload: Any = None
    taken: int = 0
    cost: float = field(init=False)

    def __post_init__(self) -> None:
        self.cost = math.fsum(self.costs)


@dataclass(frozen=True, slots=True)
class Item:
    """One window or prompt of a request."""

    request: Request
    index: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Items that the device runs next; empty if nothing waits. `expired` requests were dropped after their deadline.

    `cost` includes padding: every item costs as much as the largest one.
    """

    kind: Kind
    items: list[Item]
    cost: float
    expired: list[Request]
