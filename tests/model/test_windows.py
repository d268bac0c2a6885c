"""Windows: where a clip is cut, and that nothing of it is lost or invented."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.audio import Samples
from model.windows import cut, slice_windows


def ramp(length: int) -> Samples:
    return np.arange(1, length + 1, dtype=np.float32)


def test_windows_follow_each_other_by_the_hop() -> None:
    windows, starts = cut(ramp(8), 4, 2, "repeat")
    np.testing.assert_array_equal(starts, [0, 2, 4])
    np.testing.assert_array_equal(windows, [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8]])


def test_a_tail_gets_a_window_aligned_to_the_end() -> None:
    windows, starts = cut(ramp(9), 4, 4, "repeat")
    np.testing.assert_array_equal(starts, [0, 4, 5])
    np.testing.assert_array_equal(windows[-1], [6, 7, 8, 9])


@pytest.mark.parametrize("padding", ["repeat", "repeat_whole", "zero"])
def test_a_clip_as_long_as_the_window_is_the_window(padding: str) -> None:
    windows, starts = cut(ramp(4), 4, 4, padding)  # type: ignore[arg-type]
    np.testing.assert_array_equal(windows, [[1, 2, 3, 4]])
    np.testing.assert_array_equal(starts, [0])


def test_a_short_clip_is_repeated() -> None:
    windows, starts = cut(ramp(3), 8, 4, "repeat")
    np.testing.assert_array_equal(windows, [[1, 2, 3, 1, 2, 3, 1, 2]])
    np.testing.assert_array_equal(starts, [0])


def test_a_short_clip_is_followed_by_silence() -> None:
    windows, starts = cut(ramp(3), 8, 4, "zero")
    np.testing.assert_array_equal(windows, [[1, 2, 3, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(starts, [0])


def test_a_short_clip_is_repeated_whole_and_followed_by_silence() -> None:
    windows, _ = cut(ramp(3), 8, 4, "repeat_whole")
    np.testing.assert_array_equal(windows, [[1, 2, 3, 1, 2, 3, 0, 0]])


def test_one_sample_fills_a_window() -> None:
    np.testing.assert_array_equal(cut(ramp(1), 3, 3, "repeat")[0], [[1, 1, 1]])


def test_an_empty_clip_has_no_windows() -> None:
    with pytest.raises(ValueError, match="empty clip"):
        cut(ramp(0), 4, 4, "repeat")


def test_windows_are_copies() -> None:
    samples = ramp(4)
    for padding in ("repeat", "repeat_whole", "zero"):
        windows, _ = cut(samples, 4, 4, padding)
        windows[:] = 0
    windows, _ = cut(ramp(8), 4, 4, "repeat")
    windows[:] = 0
    np.testing.assert_array_equal(samples, [1, 2, 3, 4])


@given(st.integers(1, 300), st.integers(1, 50), st.integers(1, 50), st.sampled_from(["repeat", "repeat_whole", "zero"]))
def test_every_sample_is_heard_and_none_is_invented(length: int, window: int, hop: int, padding: str) -> None:
    hop = min(hop, window)
    samples = ramp(length)
    windows, starts = cut(samples, window, hop, padding)  # type: ignore[arg-type]
    assert windows.shape == (len(starts), window)
    assert windows.dtype == np.float32
    assert windows.flags.c_contiguous
    assert starts.dtype == np.int64
    if length <= window:
        assert len(starts) == 1
        np.testing.assert_array_equal(windows[0, :length], samples)
        return
    np.testing.assert_array_equal(np.unique(windows), samples)
    for start, one in zip(starts, windows, strict=True):
        np.testing.assert_array_equal(one, samples[start : start + window])
    assert (np.diff(starts) > 0).all()
    assert all(start % hop == 0 for start in starts[:-1])
    assert starts[-1] == length - window


@given(st.integers(1, 300), st.integers(1, 50))
def test_the_same_clip_gives_the_same_windows(length: int, window: int) -> None:
    first, again = cut(ramp(length), window, window, "repeat"), cut(ramp(length), window, window, "repeat")
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


@pytest.mark.parametrize(("length", "hop"), [(100, 40), (95, 40), (200, 25), (40, 40)])
def test_windows_at_any_start_are_sliced_from_the_cut_ones(length: int, hop: int) -> None:
    samples = np.arange(length, dtype=np.float32)
    windows, starts = cut(samples, 40, hop, "repeat")
    wanted = np.arange(0, length - 40 + 1, dtype=np.int64)
    assert (slice_windows(windows, starts, wanted) == samples[wanted[:, np.newaxis] + np.arange(40)]).all()
    with pytest.raises(ValueError, match="outside"):
        slice_windows(windows, starts, np.array([length - 39]))
