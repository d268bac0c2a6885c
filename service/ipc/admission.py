"""The admission cache: what a worker has just refused is refused again without asking, before a body is read."""

from __future__ import annotations

from dataclasses import dataclass

from service.ipc.embedding import Overloaded, Priority

LONGEST_S = 0.5
"""How long a refusal is remembered at most: admitted requests may have been cancelled since."""


@dataclass(frozen=True)
class Refusal:
    """Until `until` there is no room for a clip whose deadline is less than `needed_s` away."""

    until: float
    needed_s: float


class AdmissionCache:
    """The last refusal of each priority. Times are in `time.monotonic()` seconds."""

    def __init__(self) -> None:
        self.refusals: dict[Priority, Refusal] = {}

    def remember(self, priority: Priority, deadline: float, retry_after_s: float, now: float) -> None:
        """Record that a worker refused a single clip, and would have taken it with `retry_after_s` more time."""
        self.refusals[priority] = Refusal(now + min(retry_after_s, LONGEST_S), deadline - now + retry_after_s)

    def check(self, priority: Priority, deadline: float, now: float) -> None:
        """Raises Overloaded for a request that a worker would refuse. A refusal of interactive work
        applies to bulk work too."""
        for each in {priority, Priority.INTERACTIVE}:
            refusal = self.refusals.get(each)
            if refusal is not None and now < refusal.until and deadline - now < refusal.needed_s:
                raise Overloaded("a worker has just refused the same", refusal.until - now)
