"""How fast the device works off the queue: a line fitted to the durations of the last batches."""

from __future__ import annotations

import math
from collections import deque

HISTORY = 50


class QueueRate:
    """Least squares `duration = s_per_cost * cost + s_per_batch` over the last `history` batches.

    Both coefficients stay >= 0. While all batches have the same cost, the two cannot be told apart and all time is
    attributed to `s_per_cost`, which still estimates a queue of such batches correctly. Before the first batch
    `s_per_cost` is `prior`.
    """

    def __init__(self, prior: float = 0.0, history: int = HISTORY) -> None:
        self.s_per_cost = prior
        self.s_per_batch = 0.0
        self._batches: deque[tuple[float, float]] = deque(maxlen=history)

    def observe(self, cost: float, duration_s: float) -> None:
        """Record that a batch of `cost` occupied the device for `duration_s`."""
        self._batches.append((cost, duration_s))
        self._fit()

    def _fit(self) -> None:
        count = len(self._batches)
        mean_cost = sum(cost for cost, _ in self._batches) / count
        mean_duration = sum(duration for _, duration in self._batches) / count
        variance = sum((cost - mean_cost) ** 2 for cost, _ in self._batches)
        if variance <= 1e-9 * count * mean_cost**2:
            self.s_per_cost, self.s_per_batch = mean_duration / mean_cost if mean_cost else 0.0, 0.0
            return
        covariance = sum((cost - mean_cost) * (duration - mean_duration) for cost, duration in self._batches)
        slope = covariance / variance
        intercept = mean_duration - slope * mean_cost
        if slope < 0:
            slope, intercept = 0.0, mean_duration
        elif intercept < 0:
            squares = sum(cost * cost for cost, _ in self._batches)
            slope, intercept = sum(cost * duration for cost, duration in self._batches) / squares, 0.0
        self.s_per_cost, self.s_per_batch = slope, intercept

    def batch_s(self, cost: float) -> float:
        """Seconds that one batch of `cost` takes."""
        return self.s_per_cost * cost + self.s_per_batch if cost > 0 else 0.0

    def queue_s(self, cost: float, batch_cost: float) -> float:
        """Seconds to work off a queue of `cost` in batches of up to `batch_cost`."""
        if cost <= 0:
            return 0.0
        return self.s_per_cost * cost + self.s_per_batch * math.ceil(cost / batch_cost)
