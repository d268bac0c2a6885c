"""Items and scored items as Arrow tables of fixed schemas, as they travel between the processes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from bulk.item import Failure, Item, Place
from bulk.scoring import ScoredItem
from model.events import Event

ITEMS = pa.schema(
    [
        ("path", pa.string()),
        ("place", pa.string()),
        ("location", pa.binary()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
    ]
)
EVENT = pa.struct([("label", pa.int32()), ("start_s", pa.float64()), ("end_s", pa.float64()), ("score", pa.float64())])
SCORED = pa.schema(
    [
        ("path", pa.string()),
        ("content_hash", pa.string()),
        ("duration_s", pa.float64()),
        ("order", pa.list_(pa.int64())),
        ("score", pa.list_(pa.float64())),
        ("similarity", pa.list_(pa.float64())),
        ("none_of_these", pa.float64()),
        ("events", pa.list_(EVENT)),
        ("reason", pa.string()),
        ("error", pa.string()),
    ]
)


def items_table(items: Sequence[Item]) -> pa.Table:
    rows = [
        {
            "path": item.path,
            "place": item.place.value,
            "location": item.location.encode("utf-8", "surrogateescape"),  # a file name may hold any bytes
            "offset": item.offset,
            "size": item.size,
        }
        for item in items
    ]
    return pa.Table.from_pylist(rows, schema=ITEMS)


def items_of(table: pa.Table) -> Iterator[Item]:
    for row in table.to_pylist():
        location = row["location"].decode("utf-8", "surrogateescape")
        yield Item(row["path"], Place(row["place"]), location, row["offset"], row["size"])


def scored_table(items: Sequence[ScoredItem]) -> pa.Table:
    rows = [
        {
            "path": item.path,
            "content_hash": item.content_hash,
            "duration_s": item.duration_s,
            "order": item.order,
            "score": item.score,
            "similarity": item.similarity,
            "none_of_these": item.none_of_these,
            "events": [vars(event) for event in item.events],
            "reason": item.failure.reason if item.failure else None,
            "error": item.failure.detail if item.failure else None,
        }
        for item in items
    ]
    return pa.Table.from_pylist(rows, schema=SCORED)


def scored_of(table: pa.Table) -> Iterator[ScoredItem]:
    for row in table.to_pylist():
        yield ScoredItem(
            row["path"],
            row["content_hash"],
            row["duration_s"],
            np.array(row["order"], np.int64),
            np.array(row["score"], np.float64),
            np.array(row["similarity"], np.float64),
            row["none_of_these"],
            tuple(Event(**event) for event in row["events"]),
            None if row["error"] is None else Failure(row["reason"], row["error"]),
        )
