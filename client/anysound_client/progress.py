"""A progress bar, where tqdm is installed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def tracked(items: Iterable[T], progress: bool) -> Iterable[T]:
    """The items, counted by a progress bar if `progress` is set and tqdm is installed."""
    if not progress:
        return items
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return items
    bar: Iterable[T] = tqdm(items, unit="recording")
    return bar
