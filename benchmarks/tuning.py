"""The settings that are best for a system: found by a few short probes, and kept with what they belong to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The largest batch, and how many batches run at the same time."""

    batch: int
    workers: int

    def __str__(self) -> str:
        return f"{self.workers} x batch {self.batch}"


@dataclass(frozen=True)
class Tried:
    """Settings, and the clips per second that a probe of them gave."""

    settings: Settings
    clips_s: float


def search(
    clips_s: Callable[[Settings], float], batches: Sequence[int], first: int, workers: Sequence[int], seconds: float
) -> list[Tried]:
    """Probe settings, starting from the batch `first` with the first of `workers`. Returns all that were tried.

    The batch is made larger while that gains, or else smaller. Other numbers of workers are tried at the best batch so
    far, and with other batches only if they gain there. After `seconds` no further probe begins.
    """
    ends = time.monotonic() + seconds
    tried: dict[Settings, float] = {}

    def gains(settings: Settings) -> bool:
        """Whether these settings are the best so far."""
        if tried and time.monotonic() > ends:
            return False
        before = max(tried.values(), default=0.0)
        tried[settings] = clips_s(settings)
        return tried[settings] > before

    at = batches.index(first)
    for count in workers:
        if not gains(Settings(batches[at], count)):
            continue
        for step in (1, -1):
            start = at
            while 0 <= at + step < len(batches) and gains(Settings(batches[at + step], count)):
                at += step
            if at != start:
                break
    return [Tried(settings, speed) for settings, speed in tried.items()]


class Kept:
    """Results of searches, in a JSON file, by the system, model, precision and machine that they belong to."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, owner: str, found: Callable[[], list[Tried]]) -> list[Tried]:
        """The kept result of `owner`, best first; if there is none, that of `found`, which is then kept."""
        known = json.loads(self._path.read_text()) if self._path.exists() else {}
        if owner not in known:
            best_first = sorted(found(), key=lambda each: -each.clips_s)
            known[owner] = [asdict(each) for each in best_first]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(known, indent=2) + "\n")
        return [Tried(Settings(**each["settings"]), each["clips_s"]) for each in known[owner]]


def described(tried: Sequence[Tried]) -> str:
    """What won, and what else was tried."""
    best, *others = tried
    text = ", ".join(f"{each.settings}: {each.clips_s:.1f}" for each in others)
    return f"{best.settings} is best with {best.clips_s:.1f} clips/s" + (f" ({text})" if text else "")
