"""Windows of a recording in blocks: those of the whole, for both hops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk.cutting import EVENTS, SCORES, Cutter
from model.config import Padding
from model.windows import Samples, cut


def windows(
    samples: Samples, block: int, window: int, hop: int, event_hop: int | None, padding: Padding, capacity: int
) -> dict[int, tuple[Samples, list[int]]]:
    """Windows and their starts for each purpose, from a cutter that is fed in blocks."""
    cutter = Cutter(window, hop, event_hop, padding, capacity)
    blocks = [samples[at : at + block] for at in range(0, len(samples), block)]
    found: dict[int, list[tuple[int, Samples]]] = {SCORES: [], EVENTS: []}
    for piece in cutter.pieces(blocks):
        assert len(piece.samples) <= max(capacity, window)
        for start, purpose in piece.windows:
            for wanted in found:
                if purpose & wanted:
                    found[wanted].append((piece.at + start, piece.samples[start : start + window]))
    assert cutter.length == len(samples)
    return {each: (np.array([w for _, w in pairs]), [s for s, _ in pairs]) for each, pairs in found.items()}


@settings(max_examples=200, deadline=None)
@given(
    length=st.integers(1, 400),
    block=st.integers(1, 130),
    window=st.integers(1, 40),
    hops=st.tuples(st.integers(1, 40), st.none() | st.integers(1, 40)),
    room=st.integers(0, 60),
    padding=st.sampled_from(["repeat", "repeat_whole", "zero"]),
)
def test_the_windows_are_those_of_the_whole(
    length: int, block: int, window: int, hops: tuple[int, int | None], room: int, padding: Padding
) -> None:
    samples = np.arange(1, length + 1, dtype=np.float32)
    hop, event_hop = min(hops[0], window), hops[1] and min(hops[1], window)
    found = windows(samples, block, window, hop, event_hop, padding, window + room)
    for purpose, each in ((SCORES, hop), (EVENTS, event_hop)):
        if each is None:
            assert found[purpose][1] == []
            continue
        expected, starts = cut(samples, window, each, padding)
        assert found[purpose][1] == starts.tolist()
        assert np.array_equal(found[purpose][0], expected)


def test_a_window_of_both_hops_is_sent_once() -> None:
    cutter = Cutter(10, 10, 5, "zero", 1_000)
    (piece,) = cutter.pieces([np.zeros(25, np.float32)])
    assert piece.windows == ((0, SCORES | EVENTS), (5, EVENTS), (10, SCORES | EVENTS), (15, SCORES | EVENTS))


@pytest.mark.parametrize("blocks", [[], [np.zeros(0, np.float32)]])
def test_a_recording_without_samples_has_no_windows(blocks: list[Samples]) -> None:
    assert list(Cutter(10, 10, None, "zero", 100).pieces(blocks)) == []
