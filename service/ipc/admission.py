"""What a worker refused a moment ago is refused at the door: before a body is read, and without asking again."""

from __future__ import annotations

from dataclasses import dataclass

from service.ipc.embedding import Overloaded, Priority

LONGEST_S = 0.5
"""A refusal is not believed for longer: requests that were let in may have gone away since."""


@dataclass(frozen=True)
class Refusal:
    """No room before `until` for a clip that has less than `needed_s`."""

    until: float
    needed_s: float


class Door:
    """Times are in `time.monotonic()` seconds."""

    def __init__(self) -> None:
        self.refusals: dict[Priority, Refusal] = {}

    def shut(self, priority: Priority, deadline: float, retry_after_s: float, now: float) -> None:
        """A worker has refused a single clip, which would have been taken with so much more time."""
        self.refusals[priority] = Refusal(now + min(retry_after_s, LONGEST_S), deadline - now + retry_after_s)

    def check(self, priority: Priority, deadline: float, now: float) -> None:
        """Raises Overloaded for a request that a worker would refuse as well. Bulk work has no more room than other."""
        for each in {priority, Priority.INTERACTIVE}:
            refusal = self.refusals.get(each)
            if refusal is not None and now < refusal.until and deadline - now < refusal.needed_s:
                raise Overloaded("a worker has just refused as much", refusal.until - now)
