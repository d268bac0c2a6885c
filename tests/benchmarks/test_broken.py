"""The benchmark's broken files hold no recording."""

from __future__ import annotations

import random

import pytest

from benchmarks.broken import kinds
from model.audio import AudioError, read

KINDS = kinds()


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_each_kind_are_refused(kind: str) -> None:
    chance = random.Random(0)  # noqa: S311
    for _ in range(5):
        with pytest.raises(AudioError):
            read(KINDS[kind](chance))
