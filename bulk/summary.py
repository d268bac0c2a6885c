"""What a run's tables say: counts per label, histograms of scores, errors by reason, the items that score highest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bulk.folder import EVENTS, SCORES, FolderError, read_settings, tables

BINS = 20
"""Bins of a histogram, between a score of 0 and 1."""


@dataclass(frozen=True)
class Top:
    """An item among those that score highest for a label, and where it is heard best, if events were found."""

    path: str
    score: float
    start_s: float = 0.0


@dataclass
class LabelSummary:
    """`first` counts the items whose best label it is, `events` its events; `histogram` [BINS] counts scores."""

    name: str
    first: int
    events: int
    histogram: npt.NDArray[np.int64]
    top: list[Top]


@dataclass
class Summary:
    """A whole run. `errors` are counts by reason, `examples` the first error of each."""

    settings: dict[str, Any]
    items: int
    audio_s: float
    labels: list[LabelSummary]
    errors: Counter[str]
    examples: dict[str, tuple[str, str]]


def summed_up(folder: Path, top: int) -> Summary:
    """Read a run's tables, one part at a time. Raises FolderError."""
    settings = read_settings(folder)
    if settings is None or not isinstance(settings.get("labels"), list):
        raise FolderError(f"{folder} is not the folder of a run: it has no bulk.json")
    names: list[str] = settings["labels"]
    labels = [LabelSummary(name, 0, 0, np.zeros(BINS, np.int64), []) for name in names]
    summary = Summary(settings, 0, 0.0, labels, Counter(), {})
    for table in tables(folder, SCORES):
        _add(summary, table, wide=settings.get("layout") == "wide", top=top)
    for table in tables(folder, EVENTS) if settings.get("events") else ():
        _add_events(summary, table)
    return summary


def _add(summary: Summary, table: pa.Table, *, wide: bool, top: int) -> None:
    failed = pc.is_valid(table.column("error"))
    for row in table.filter(failed).select(["path", "reason", "error"]).to_pylist():
        summary.errors[row["reason"]] += 1
        summary.examples.setdefault(row["reason"], (row["path"], row["error"]))
    good = table.filter(pc.invert(failed))
    firsts = good if wide else good.filter(pc.equal(good.column("rank"), 1))
    summary.items += len(firsts) + pc.sum(failed).as_py() if len(table) else 0
    summary.audio_s += pc.sum(firsts.column("duration_s")).as_py() or 0.0
    for number, paths, scores, first in _by_label(summary, good, wide=wide):
        label = summary.labels[number]
        label.first += int(first.sum())
        bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        label.histogram += np.bincount(bins, minlength=BINS)
        best = np.argsort(-scores, kind="stable")[:top]
        found = [Top(paths[int(row)].as_py(), float(scores[row])) for row in best]
        label.top = sorted([*label.top, *found], key=lambda each: -each.score)[:top]


def _by_label(
    summary: Summary, good: pa.Table, *, wide: bool
) -> Iterator[tuple[int, pa.ChunkedArray, npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
    """For each label: the paths and scores of its items, and which of them have it as their best label."""
    names = [label.name for label in summary.labels]
    if wide:
        scores = np.stack([good.column(name).to_numpy() for name in names], axis=1)
        best = scores.argmax(axis=1) if len(good) else np.zeros(0, np.int64)
        for number in range(len(names)):
            yield number, good.column("path"), scores[:, number], best == number
        return
    numbers = pc.index_in(good.column("label"), value_set=pa.array(names, pa.string())).to_numpy()
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(numbers[order], np.arange(len(names) + 1))
    score, rank = good.column("score").to_numpy(), good.column("rank").to_numpy()
    for number in range(len(names)):
        rows = order[bounds[number] : bounds[number + 1]]
        yield number, good.column("path").take(pa.array(rows)), score[rows], rank[rows] == 1


def _add_events(summary: Summary, table: pa.Table) -> None:
    """Count events, and move the top items to the place where their label is heard best."""
    by_name = {label.name: label for label in summary.labels}
    for name, count in Counter(table.column("label").to_pylist()).items():
        by_name[name].events += count
    wanted = pa.array({each.path for label in summary.labels for each in label.top}, pa.string())
    highest: dict[tuple[str, str], tuple[float, float]] = {}
    for row in table.filter(pc.is_in(table.column("path"), value_set=wanted)).to_pylist():
        key = row["label"], row["path"]
        highest[key] = max(highest.get(key, (0.0, 0.0)), (row["score"], row["start_s"]))
    for label in summary.labels:
        label.top = [
            Top(each.path, each.score, highest.get((label.name, each.path), (0.0, each.start_s))[1])
            for each in label.top
        ]
