"""The tables that a run writes. Their schemas do not depend on the rows: a column without a value keeps its type."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from bulk.scoring import ScoredItem
from bulk.settings import ScoreSettings

ITEM = (
    pa.field("path", pa.string(), nullable=False),
    pa.field("content_hash", pa.string()),
    pa.field("duration_s", pa.float64()),
)
END = (
    pa.field("none_of_these", pa.float64()),
    pa.field("error", pa.string()),
    pa.field("reason", pa.string()),
)
LONG = (
    *ITEM,
    pa.field("label", pa.string()),
    pa.field("score", pa.float64()),
    pa.field("similarity", pa.float64()),
    pa.field("rank", pa.int32()),
    *END,
)
EVENTS = (
    pa.field("path", pa.string(), nullable=False),
    pa.field("label", pa.string(), nullable=False),
    pa.field("start_s", pa.float64(), nullable=False),
    pa.field("end_s", pa.float64(), nullable=False),
    pa.field("score", pa.float64(), nullable=False),
)
RESERVED = frozenset(field.name for field in (*ITEM, *END))
"""Names of columns that no label can have in the wide layout."""


class Tables:
    """Scored items to tables. Every file says in its metadata (`anysound`) what it was made with."""

    def __init__(self, settings: ScoreSettings) -> None:
        self._settings = settings
        self._names = pa.array(settings.labels, pa.string())
        made_with = {"anysound": json.dumps(settings.as_json())}
        wide = (pa.field(name, pa.float64()) for name in settings.labels)
        self.scores = pa.schema(LONG if settings.layout == "long" else (*ITEM, *wide, *END), metadata=made_with)
        self.events = pa.schema(EVENTS, metadata=made_with)

    def scores_of(self, items: Sequence[ScoredItem]) -> pa.Table:
        """One row per item and label, best first, or one per item; an item that failed has one row in both layouts."""
        of_items = [
            pa.array([item.path for item in items], pa.string()),
            pa.array([item.content_hash for item in items], pa.string()),
            pa.array([item.duration_s for item in items], pa.float64()),
        ]
        end = [
            pa.array([item.none_of_these for item in items], pa.float64()),
            pa.array([item.failure.detail if item.failure else None for item in items], pa.string()),
            pa.array([item.failure.reason if item.failure else None for item in items], pa.string()),
        ]
        if self._settings.layout == "wide":
            return pa.Table.from_arrays([*of_items, *self._by_label(items), *end], schema=self.scores)
        counts = np.array([max(1, len(item.order)) for item in items], np.int64)
        row = pa.array(np.repeat(np.arange(len(items)), counts))
        failed = np.repeat(np.array([item.failure is not None for item in items], np.bool_), counts)
        blank = np.zeros(1)

        def joined(parts: Sequence[np.typing.NDArray[np.float64]]) -> pa.Array:
            values = np.concatenate([part if len(part) else blank for part in parts] or [blank[:0]])
            return pa.array(values, mask=failed)

        order = np.concatenate([item.order if len(item.order) else blank for item in items] or [blank[:0]])
        rank = np.concatenate([np.arange(1, count + 1) for count in counts] or [blank[:0]])
        columns = [
            *(column.take(row) for column in of_items),
            self._names.take(pa.array(order.astype(np.int64), mask=failed)),
            joined([item.score for item in items]),
            joined([item.similarity for item in items]),
            pa.array(rank.astype(np.int32), mask=failed),
            *(column.take(row) for column in end),
        ]
        return pa.Table.from_arrays(columns, schema=self.scores)

    def _by_label(self, items: Sequence[ScoredItem]) -> list[pa.Array]:
        scores = np.full((len(items), len(self._names)), np.nan)
        for row, item in enumerate(items):
            scores[row, item.order] = item.score
        return [pa.array(column, mask=np.isnan(column)) for column in scores.T]

    def events_of(self, items: Sequence[ScoredItem]) -> pa.Table:
        """One row per event, items in their order and events in the order of time."""
        events = [(item.path, event) for item in items for event in item.events]
        columns = [
            pa.array([path for path, _ in events], pa.string()),
            self._names.take(pa.array([event.label for _, event in events], pa.int64())),
            pa.array([event.start_s for _, event in events], pa.float64()),
            pa.array([event.end_s for _, event in events], pa.float64()),
            pa.array([event.score for _, event in events], pa.float64()),
        ]
        return pa.Table.from_arrays(columns, schema=self.events)
