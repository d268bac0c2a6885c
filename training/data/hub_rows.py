"""Rows of Hugging Face data sets, read from memory-mapped files. Their URLs hold all that opens them."""

from __future__ import annotations

import json
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

DATASET = "dataset:"
OPENING = threading.Lock()
"""Two threads that open data sets at once can fail in the progress bar that `datasets` makes, shown or not."""


def url_of(name: str, config: str | None, split: str, audio: str) -> str:
    return DATASET + json.dumps([name, config, split, audio])


def opened(url: str) -> Any:
    """The data set of a URL that `url_of` made, whose audio is not decoded; opened once in a process."""
    with OPENING:
        return _opened(url)


@lru_cache(maxsize=8)
def _opened(url: str) -> Any:
    from datasets import Audio, load_dataset, load_from_disk

    name, config, split, audio = json.loads(url.removeprefix(DATASET))
    if (Path(name) / "state.json").exists():
        rows = load_from_disk(name)
    elif (Path(name) / "dataset_dict.json").exists():
        rows = load_from_disk(name)[split]
    else:
        rows = load_dataset(name, config, split=split)
    if audio in rows.column_names:
        rows = rows.cast_column(audio, Audio(decode=False))
    return rows


def read_row(url: str, number: int) -> Path | bytes:
    """The recording of a row: its bytes, or its path where the data set has no bytes. Raises OSError."""
    *_, audio = json.loads(url.removeprefix(DATASET))
    cell = opened(url)[number][audio]
    if cell and cell.get("bytes"):
        return bytes(cell["bytes"])
    if cell and cell.get("path"):
        return Path(cell["path"])
    raise OSError(f"row {number} holds no recording")
