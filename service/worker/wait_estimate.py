"""How long work has to wait: what the device runs now, and how fast it works off what is ahead."""

from __future__ import annotations

import math

from service.worker.queue_rate import QueueRate
from service.worker.requests import Batch, Kind


class WaitEstimate:
    """Learns from the batches that the device starts and finishes. `now` is in the seconds of the deadlines.

    `batch_costs` are the largest cost of a batch, by kind.
    """

    def __init__(self, batch_costs: dict[Kind, float], rates: dict[Kind, QueueRate] | None = None) -> None:
        self.rates = rates or {kind: QueueRate() for kind in Kind}
        self._batch_costs = batch_costs
        self._running: dict[int, tuple[float, float]] = {}  # id of a batch: when it started, how long it should take
        self._last_finished = -math.inf

    def started(self, batch: Batch, now: float) -> None:
        self._running[id(batch)] = (now, self.rates[batch.kind].batch_s(batch.cost))

    def finished(self, batch: Batch, now: float) -> float:
        """Learn from a finished batch, and return how long it ran.

        Batches may run at the same time: each is charged the time since the one before it finished.
        """
        start, _ = self._running.pop(id(batch))
        self.rates[batch.kind].observe(batch.cost, now - max(start, self._last_finished))
        self._last_finished = now
        return now - start

    @property
    def idle(self) -> bool:
        """Whether the device runs nothing."""
        return not self._running

    def busy_s(self, now: float) -> float:
        """Seconds for which the oldest running batch has been running; 0 if the device is idle."""
        return max((now - start for start, _ in self._running.values()), default=0.0)

    def running_s(self, now: float) -> float:
        """Estimated seconds until the running batches are finished."""
        return sum(max(0.0, expected - max(0.0, now - start)) for start, expected in self._running.values())

    def queue_s(self, kind: Kind, cost: float) -> float:
        """Estimated seconds to work off `cost` of one kind."""
        return self.rates[kind].queue_s(cost, self._batch_costs[kind])

    def wait_s(self, kind: Kind, ahead: float, others: float, now: float) -> float:
        """Estimated seconds until `ahead` of one kind is done, the new request's own cost included.

        Of the other kind `others` is ahead; the kinds take turns, batch by batch.
        """
        other = Kind.TEXT if kind is Kind.AUDIO else Kind.AUDIO
        turns = math.ceil(ahead / self._batch_costs[kind]) * self._batch_costs[other]
        return self.running_s(now) + self.queue_s(kind, ahead) + self.queue_s(other, min(others, turns))
