"""The folder of a run: its settings, its parts, and the lock that keeps a second run out.

    bulk.json                      the settings; another run into this folder must have the same
    scores/part-000000.parquet     one row per item and label, or per item
    events/part-000000.parquet     with --events: one row per event

A part is written beside its place, synced, and renamed: it is whole or absent. An item is done if `scores` has its row.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bulk.rows import Tables
from bulk.scoring import ScoredItem
from bulk.settings import ScoreSettings, SettingsDiffer

SETTINGS = "bulk.json"
SCORES, EVENTS = "scores", "events"
PART = re.compile(r"part-(\d{6,})\.parquet")


class FolderError(ValueError):
    """The folder cannot be used; the message names it and the cause."""


class RunFolder:
    """The folder while a run writes to it. Use as a context manager. Raises FolderError.

    The next part gets the next number, so that parts in the order of their names are in the order of the run.
    """

    def __init__(self, folder: Path, settings: ScoreSettings) -> None:
        self.folder = folder
        self._tables = Tables(settings)
        self._with_events = settings.events
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
            try:
                self._claim(settings)
            except BaseException:
                os.close(self._lock)
                raise
        except OSError as error:
            raise FolderError(f"{folder} cannot be written: {error.strerror or error}") from None

    def _claim(self, settings: ScoreSettings) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderError(f"{self.folder}: another run is writing to this folder") from None
        stored = read_settings(self.folder)
        if stored is None:
            text = json.dumps(settings.as_json(), ensure_ascii=False, indent=1) + "\n"
            write_whole(self.folder / SETTINGS, text.encode())
        else:
            try:
                settings.check_same(stored)
            except SettingsDiffer as error:
                raise FolderError(f"{self.folder}: {error}; give another --out") from None
        for name in (SCORES, EVENTS):
            (self.folder / name).mkdir(exist_ok=True)
        self._clear()
        self._next = max((number for number, _ in parts(self.folder)), default=-1) + 1

    def _clear(self) -> None:
        """Remove what a killed run has left: files that were not renamed, and events whose scores were not written."""
        numbers = {number for number, _ in parts(self.folder)}
        for path in [*(self.folder / SCORES).iterdir(), *(self.folder / EVENTS).iterdir()]:
            found = PART.fullmatch(path.name)
            if path.name.endswith(".partial") or (found and int(found[1]) not in numbers):
                path.unlink()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

    def done(self) -> set[str]:
        """The paths of the items that have a row."""
        paths: set[str] = set()
        for _, path in parts(self.folder):
            paths.update(pq.read_table(path, columns=["path"]).column("path").unique().to_pylist())
        return paths

    def forget_failures(self) -> int:
        """Remove the rows of items that failed, so that they are done again. Returns how many there were."""
        forgotten = 0
        for _, path in parts(self.folder):
            table = pq.read_table(path)
            good = table.filter(pc.is_null(table.column("error")))
            if len(good) < len(table):
                forgotten += len(table) - len(good)
                write_whole(path, _parquet(good))
        return forgotten

    def write(self, items: Sequence[ScoredItem]) -> None:
        """Write one part. Raises OSError."""
        name = f"part-{self._next:06d}.parquet"
        if self._with_events:  # before the scores, by whose rows an item is done
            write_whole(self.folder / EVENTS / name, _parquet(self._tables.events_of(items)))
        write_whole(self.folder / SCORES / name, _parquet(self._tables.scores_of(items)))
        self._next += 1


def parts(folder: Path, table: str = SCORES) -> list[tuple[int, Path]]:
    """The parts of a table by number."""
    found = ((PART.fullmatch(path.name), path) for path in (folder / table).glob("part-*.parquet"))
    return sorted((int(match[1]), path) for match, path in found if match)


def tables(folder: Path, table: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The parts of a table, one after the other. Raises FolderError."""
    for _, path in parts(folder, table):
        try:
            yield pq.read_table(path, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise FolderError(f"{path} cannot be read: {error}") from None


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What `bulk.json` holds; None without one. Raises FolderError."""
    path = folder / SETTINGS
    try:
        stored = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FolderError(f"{path} cannot be read: {error}") from None
    if not isinstance(stored, dict):
        raise FolderError(f"{path} does not hold the settings of a run")
    return stored


def _parquet(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return memoryview(sink.getvalue())


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that it is whole or absent, also after a power cut. Raises OSError."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
