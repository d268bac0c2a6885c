"""A worker's counters since the service started. Every API process receives them, so any of them can be scraped.

The counters are kept in a file, from which a restarted worker continues.
"""

from __future__ import annotations

import bisect
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SIZE_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
KINDS = ("audio", "text")


@dataclass
class Histogram:
    """Counts of values up to each bound, with one more count for those above all bounds; and the sum of the values."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: Histogram) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def cumulative(self) -> list[tuple[str, int]]:
        """Prometheus buckets: (`le`, the number of values <= `le`)."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            buckets.append((bound, total))
        return buckets


def _histograms(bounds: tuple[float, ...]) -> dict[str, Histogram]:
    return {kind: Histogram(bounds) for kind in KINDS}


@dataclass
class WorkerStats:
    """Cumulative counters; `queue_seconds` (audio that waits) and `busy_s` (age of the running batch) are current."""

    batch_size: dict[str, Histogram] = field(default_factory=lambda: _histograms(SIZE_BOUNDS))
    batch_duration_s: dict[str, Histogram] = field(default_factory=lambda: _histograms(DURATION_BOUNDS))
    audio_seconds: float = 0.0
    cancelled: int = 0
    expired: int = 0
    refused: int = 0
    rejected_items: int = 0
    out_of_memory: int = 0
    restarts: int = 0
    queue_seconds: float = 0.0
    busy_s: float = 0.0

    def add(self, other: WorkerStats) -> None:
        """Add another worker's counters and queue."""
        for mine, theirs in ((self.batch_size, other.batch_size), (self.batch_duration_s, other.batch_duration_s)):
            for kind in KINDS:
                mine[kind].add(theirs[kind])
        for name in (
            "audio_seconds",
            "cancelled",
            "expired",
            "refused",
            "rejected_items",
            "out_of_memory",
            "restarts",
            "queue_seconds",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.busy_s = max(self.busy_s, other.busy_s)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> WorkerStats:
        stats = cls(**data)
        for name in ("batch_size", "batch_duration_s"):
            histograms = {
                kind: Histogram(tuple(each["bounds"]), each["counts"], each["sum"]) for kind, each in data[name].items()
            }
            setattr(stats, name, histograms)
        return stats

    def save(self, path: Path) -> None:
        """Write atomically. Raises OSError."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(self.to_json()))
        partial.rename(path)

    @classmethod
    def restore(cls, path: Path) -> WorkerStats:
        """The counters that an earlier worker saved; zeros if there are none."""
        try:
            stats = cls.from_json(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()
        stats.queue_seconds = stats.busy_s = 0.0
        return stats
