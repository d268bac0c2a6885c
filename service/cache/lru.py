"""A map of bounded weight that evicts the least recently used entry."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """The weights of all entries add up to at most `limit`. An entry that alone weighs more is not kept."""

    def __init__(self, limit: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._limit = limit
        self._weigh = weigh
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._weight = 0

    def get(self, key: K) -> V | None:
        """The entry, which becomes the most recently used; None if there is none."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: K, entry: V) -> None:
        self.drop(key)
        if self._weigh(entry) > self._limit:
            return
        self._entries[key] = entry
        self._weight += self._weigh(entry)
        while self._weight > self._limit:
            self.drop(next(iter(self._entries)))

    def drop(self, key: K) -> None:
        if (dropped := self._entries.pop(key, None)) is not None:
            self._weight -= self._weigh(dropped)
