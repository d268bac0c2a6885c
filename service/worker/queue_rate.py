"""How fast the device drains the queue: a line fitted through the durations of the last batches."""

from __future__ import annotations

import math
from collections import deque

HISTORY = 50


class DrainModel:
    """Least squares `a * cost + b` over the last batches: `a` s for each unit of cost, `b` s for each batch.

    Both stay >= 0. While every batch has the same cost the split between `a` and `b` is unknown, and all the time is
    laid to `a`: a queue of many such batches is then still estimated right. Before the first batch, `a` is the prior.
    """

    def __init__(self, prior: float = 0.0, history: int = HISTORY) -> None:
        self.a = prior
        self.b = 0.0
        self._batches: deque[tuple[float, float]] = deque(maxlen=history)

    def observe(self, cost: float, duration_s: float) -> None:
        """A batch of `cost` kept the device for `duration_s`."""
        self._batches.append((cost, duration_s))
        self._fit()

    def _fit(self) -> None:
        count = len(self._batches)
        mean_cost = sum(cost for cost, _ in self._batches) / count
        mean_duration = sum(duration for _, duration in self._batches) / count
        variance = sum((cost - mean_cost) ** 2 for cost, _ in self._batches)
        if variance <= 1e-9 * count * mean_cost**2:
            self.a, self.b = mean_duration / mean_cost if mean_cost else 0.0, 0.0
            return
        covariance = sum((cost - mean_cost) * (duration - mean_duration) for cost, duration in self._batches)
        slope = covariance / variance
        intercept = mean_duration - slope * mean_cost
        if slope < 0:
            slope, intercept = 0.0, mean_duration
        elif intercept < 0:
            squares = sum(cost * cost for cost, _ in self._batches)
            slope, intercept = sum(cost * duration for cost, duration in self._batches) / squares, 0.0
        self.a, self.b = slope, intercept

    def batch_s(self, cost: float) -> float:
        """Seconds that one batch of `cost` takes."""
        return self.a * cost + self.b if cost > 0 else 0.0

    def drain_s(self, cost: float, batch_cost: float) -> float:
        """Seconds to work off a queue of `cost` in batches of up to `batch_cost`."""
        if cost <= 0:
            return 0.0
        return self.a * cost + self.b * math.ceil(cost / batch_cost)
