"""How many streams an API process serves at once, in all and by caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.api.problems import Code, Problem

RETRY_S = 5.0


class StreamPlaces:
    """Counts open streams. Up to `most` more may be waiting for their first message."""

    def __init__(self, most: int, most_of_caller: int) -> None:
        self._most = most
        self._most_of_caller = most_of_caller
        self._opening = 0
        self._open: Counter[str | None] = Counter()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """A place until the first message is read. Raises Problem."""
        if self._opening >= self._most:
            raise Problem(Code.OVERLOADED, "Too many streams are being opened.", RETRY_S)
        self._opening += 1
        try:
            yield
        finally:
            self._opening -= 1

    @contextmanager
    def open(self, caller: str | None) -> Iterator[None]:
        """A place for a stream of a caller, who is None where no key is needed. Raises Problem."""
        if self._open.total() >= self._most:
            raise Problem(Code.OVERLOADED, f"{self._most} streams are open, the limit of a process.", RETRY_S)
        if caller is not None and self._open[caller] >= self._most_of_caller:
            detail = f"This key has {self._most_of_caller} streams open, the limit."
            raise Problem(Code.RATE_LIMITED, detail, RETRY_S)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
