"""Results to scores: an item's labels best first, and its events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bulk.item import Failure
from bulk.pipeline import Result
from bulk.settings import ScoreSettings
from model.classify import LabelEmbeddings
from model.events import Event, EventFinder
from model.prompts import Embeddings, Label

DEFAULT_THRESHOLD = 0.5
TOGETHER = 64
"""Windows that are scored at once."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoredItem:
    """`order` [k] are the labels' numbers best first; `score` and `similarity` are [k] in that order."""

    path: str
    content_hash: str | None
    duration_s: float | None
    order: npt.NDArray[np.int64]
    score: Array
    similarity: Array
    none_of_these: float | None
    events: tuple[Event, ...]
    failure: Failure | None


class EventListener:
    """Finds the events of one item as its windows are embedded."""

    def __init__(self, score: Callable[[Embeddings], Array], finder: EventFinder, rate: int) -> None:
        self._score, self._finder, self._rate = score, finder, rate
        self._starts: list[float] = []
        self._waiting: list[Embeddings] = []
        self._events: list[Event] = []

    def hear(self, start: int, embedding: Embeddings) -> None:
        self._starts.append(start / self._rate)
        self._waiting.append(embedding)
        if len(self._waiting) == TOGETHER:
            self._feed()

    def _feed(self) -> None:
        self._events += self._finder.feed(self._starts, self._score(np.stack(self._waiting)))
        self._starts, self._waiting = [], []

    def finish(self, duration_s: float) -> tuple[Event, ...]:
        """The events of the whole item, in the order of time."""
        if self._waiting:
            self._feed()
        events = [*self._events, *self._finder.finish(duration_s)]
        return tuple(sorted(events, key=lambda event: (event.start_s, event.label)))


class Scorer:
    """Scores results with the labels and settings of a run."""

    def __init__(self, labels: LabelEmbeddings, scale: float, settings: ScoreSettings) -> None:
        self._labels, self._scale, self._settings = labels, scale, settings

    def listener(self, labels: tuple[Label, ...], window_s: float, rate: int) -> Callable[[], EventListener] | None:
        """What makes a listener for an item; None where no events are asked for."""
        if not self._settings.events:
            return None
        default = DEFAULT_THRESHOLD if self._settings.threshold is None else self._settings.threshold
        thresholds = [default if label.threshold is None else label.threshold for label in labels]
        hop_s = self._settings.hop_s or window_s

        def score(embeddings: Embeddings) -> Array:
            return self._labels.score(embeddings, self._scale, "sigmoid").score

        return lambda: EventListener(score, EventFinder(thresholds, window_s, hop_s), rate)

    def __call__(self, result: Result) -> ScoredItem:
        path, content_hash, duration_s = result.item.path, result.content_hash, result.duration_s
        if result.embedding is None or duration_s is None:
            none = np.empty(0)
            order = np.empty(0, np.int64)
            return ScoredItem(path, content_hash, duration_s, order, none, none, None, (), result.failure)
        settings = self._settings
        scores = self._labels.score(result.embedding, self._scale, settings.activation, settings.none_of_these)
        order = np.argsort(-scores.score, kind="stable")[: settings.top_k]
        events = result.listener.finish(duration_s) if isinstance(result.listener, EventListener) else ()
        none_of_these = None if scores.none_of_these is None else float(scores.none_of_these)
        score, similarity = scores.score[order], scores.similarity[order]
        return ScoredItem(path, content_hash, duration_s, order, score, similarity, none_of_these, events, None)
