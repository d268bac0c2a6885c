"""How long work has to wait, from the batches that run now and the measured time of earlier batches."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from service.worker.queue_rate import QueueRate
from service.worker.requests import Batch, Kind

TEXT_BATCH_S = 0.1
"""Target duration of a batch of prompts: the next prompt waits for it."""
TEXT_BATCHES = 8
"""Number of recent batches of prompts from which the next batch's size is derived."""


@dataclass(frozen=True)
class QueueLimits:
    """Bounds of one batch and of the queue. An item's cost is in seconds of audio, or in tokens.

    A batch with interactive windows, or shortly after them, is filled up with bulk ones to `mixed_windows`.
    """

    batch_seconds: float = 160.0
    batch_windows: int = 64
    mixed_windows: int = 64
    batch_tokens: float = 4096.0
    batch_prompts: int = 128
    queue_seconds: float = 600.0
    queue_tokens: float = 400_000.0

    def batch_cost(self, kind: Kind) -> float:
        return self.batch_seconds if kind is Kind.AUDIO else self.batch_tokens

    def batch_items(self, kind: Kind) -> int:
        return self.batch_windows if kind is Kind.AUDIO else self.batch_prompts

    def queue_cost(self, kind: Kind) -> float:
        return self.queue_seconds if kind is Kind.AUDIO else self.queue_tokens


class WaitEstimate:
    """Learns from the batches that the device starts and finishes. `now` is in the seconds of the deadlines.

    Batches may run at the same time. The `rates` then charge each batch the time since the one before it finished:
    this makes the estimate of a queue right, while a single batch takes longer.
    """

    def __init__(self, limits: QueueLimits, rates: dict[Kind, QueueRate] | None = None) -> None:
        self.rates = rates or {kind: QueueRate() for kind in Kind}
        self._limits = limits
        self._text: deque[tuple[float, float]] = deque(maxlen=TEXT_BATCHES)  # cost, and seconds from start to end
        self._running: dict[int, tuple[float, float]] = {}  # by batch id: start and expected duration
        self._last_finished = -math.inf

    def learn(self, kind: Kind, cost: float, duration_s: float) -> None:
        """Record a batch that ran alone."""
        self.rates[kind].observe(cost, duration_s)
        if kind is Kind.TEXT:
            self._text.append((cost, duration_s))

    def started(self, batch: Batch, now: float) -> None:
        self._running[id(batch)] = (now, self.rates[batch.kind].batch_s(batch.cost))

    def finished(self, batch: Batch, now: float) -> None:
        start, _ = self._running.pop(id(batch))
        self.rates[batch.kind].observe(batch.cost, now - max(start, self._last_finished))
        if batch.kind is Kind.TEXT:
            self._text.append((batch.cost, now - start))
        self._last_finished = now

    def batch_cost(self, kind: Kind) -> float:
        """The largest cost of a batch: the configured limit, and for prompts what the last batches would do in
        TEXT_BATCH_S. A larger batch costs less per token, so full batches grow until they take that long."""
        limit = self._limits.batch_cost(kind)
        duration_s = sum(duration for _, duration in self._text)
        if kind is Kind.AUDIO or not duration_s:
            return limit
        return min(limit, max(1.0, TEXT_BATCH_S * sum(cost for cost, _ in self._text) / duration_s))

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
        return self.rates[kind].queue_s(cost, self.batch_cost(kind))

    def wait_s(self, kind: Kind, ahead: float, others: float, now: float) -> float:
        """Estimated seconds until `ahead` of one kind is done, the new request's own cost included.

        Of the other kind `others` is ahead; the kinds take turns, batch by batch.
        """
        other = Kind.TEXT if kind is Kind.AUDIO else Kind.AUDIO
        turns = math.ceil(ahead / self.batch_cost(kind)) * self.batch_cost(other)
        return self.running_s(now) + self.queue_s(kind, ahead) + self.queue_s(other, min(others, turns))
