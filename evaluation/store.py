"""The embedding cache: vectors on disk by the checkpoint's fingerprint and the clip's bytes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np

from model.prompts import Embeddings


def default_folder() -> Path:
    """The default folder of the cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anysound" / "embeddings"


class Store:
    """Vectors of one checkpoint at one precision, by a digest of the clip, in one SQLite file.

    Vectors are durable when `add` returns. Not thread-safe.
    """

    def __init__(self, folder: Path | None, fingerprint: str, precision: str) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.path = ":memory:" if folder is None else str(folder / f"{fingerprint[:32]}-{precision}.sqlite")
        self.database = sqlite3.connect(self.path)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last clips
        self.database.execute("CREATE TABLE IF NOT EXISTS clips (digest BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")

    def digests(self) -> set[bytes]:
        return {digest for (digest,) in self.database.execute("SELECT digest FROM clips")}

    def get(self, digest: bytes) -> Embeddings:
        """Raises KeyError for a clip that was never added."""
        row = self.database.execute("SELECT vector FROM clips WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            raise KeyError(digest.hex())
        return np.frombuffer(row[0], np.float32)

    def add(self, vectors: Iterable[tuple[bytes, Embeddings]]) -> None:
        with self.database:
            self.database.executemany(
                "INSERT OR REPLACE INTO clips VALUES (?, ?)",
                [(digest, vector.astype(np.float32).tobytes()) for digest, vector in vectors],
            )

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()
