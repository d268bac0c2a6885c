"""Events: stretches above the threshold, placed by what each window has and its neighbour has not."""

from __future__ import annotations

import numpy as np
import pytest

from model.events import Array, Event, EventFinder, count_stretches, find_events

WINDOW_S = 5.0


def heard(duration_s: float, hop_s: float, *sounds: tuple[float, float]) -> tuple[Array, Array]:
    """Starts [k] of windows, and scores [k, 1] of an ideal label: log-odds that grow with the time it is heard."""
    starts = np.arange(0, duration_s - WINDOW_S + 1e-9, hop_s)
    seconds = sum(
        np.clip(np.minimum(starts + WINDOW_S, end) - np.maximum(starts, start), 0, None) for start, end in sounds
    )
    odds = -5 + 12 * np.minimum(seconds / WINDOW_S, 1)
    return starts, (1 / (1 + np.exp(-odds)))[:, np.newaxis]


def events(starts: Array, scores: Array, hop_s: float, duration_s: float, threshold: float = 0.5) -> list[Event]:
    return list(find_events(starts, scores, [threshold] * scores.shape[1], WINDOW_S, hop_s, duration_s))


@pytest.mark.parametrize("hop_s", [0.25, 0.5, 1.0, 2.5])
@pytest.mark.parametrize(("start_s", "end_s"), [(21.3, 25.1), (20.0, 26.0), (22.2, 34.9)])
def test_onset_and_offset_are_within_a_hop(hop_s: float, start_s: float, end_s: float) -> None:
    starts, scores = heard(60, hop_s, (start_s, end_s))
    [event] = events(starts, scores, hop_s, 60)
    # A fifth of the rise takes a second of a sound that fills the window.
    assert abs(event.start_s - start_s) <= max(hop_s, 1.0)
    assert abs(event.end_s - end_s) <= max(hop_s, 1.0)
    assert event.score == pytest.approx(scores.max())


def test_windows_that_do_not_overlap_give_merged_windows() -> None:
    scores = np.array([[0.1], [0.9], [0.7], [0.2], [0.6]])
    found = events(np.array([0.0, 5.0, 10.0, 15.0, 20.0]), scores, WINDOW_S, 23)
    assert [(event.start_s, event.end_s, round(event.score, 9)) for event in found] == [(5, 15, 0.9), (20, 23, 0.6)]


def test_the_last_window_is_aligned_to_the_end() -> None:
    """A sound that only the window 1-6 s has is in the last second; one that only 0-5 s has is in the first."""
    assert [(each.start_s, each.end_s) for each in events(np.array([0.0, 1.0]), np.array([[0.1], [0.9]]), 5, 6)] == [
        (5, 6)
    ]
    assert [(each.start_s, each.end_s) for each in events(np.array([0.0, 1.0]), np.array([[0.9], [0.1]]), 5, 6)] == [
        (0, 1)
    ]


def test_a_sound_throughout_lasts_from_start_to_end() -> None:
    starts, scores = heard(20, 0.5, (0, 20))
    assert [(event.start_s, event.end_s) for event in events(starts, scores, 0.5, 20)] == [(0, 20)]


def test_a_short_clip_is_one_window() -> None:
    [event] = events(np.array([0.0]), np.array([[0.8]]), 5, 0.7)
    assert (event.start_s, event.end_s) == (0, 0.7)


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    assert events(np.array([0.0]), np.array([[0.5]]), 5, 5) == []
    assert len(events(np.array([0.0]), np.array([[0.5]]), 5, 5, threshold=0.49)) == 1


def test_events_are_in_the_order_of_time_and_each_label_has_its_threshold() -> None:
    scores = np.array([[0.2, 0.9, 0.4], [0.7, 0.1, 0.4], [0.8, 0.9, 0.4]])
    found = list(find_events([0.0, 5.0, 10.0], scores, [0.5, 0.5, 0.3], WINDOW_S, WINDOW_S, 15))
    assert [(event.label, event.start_s, event.end_s) for event in found] == [
        (1, 0, 5),
        (2, 0, 15),
        (0, 5, 15),
        (1, 10, 15),
    ]
    assert count_stretches(scores, [0.5, 0.5, 0.3]) == 4


def test_windows_fed_one_by_one_give_the_same_events_and_hold_no_more_than_two_windows() -> None:
    hop_s, duration_s = 0.5, 400.0
    random = np.random.default_rng(3)
    starts = np.arange(0, duration_s - WINDOW_S + 1e-9, hop_s)
    scores = np.clip(np.cumsum(random.normal(scale=0.2, size=(len(starts), 3)), axis=0) % 2 - 0.5, 0, 1)
    whole = events(starts, scores, hop_s, duration_s)
    finder = EventFinder([0.5] * 3, WINDOW_S, hop_s)
    found, held = [], 0
    for start, row in zip(starts, scores, strict=True):
        found += finder.feed([start], row[np.newaxis])
        held = max(held, len(finder._starts))
    found += finder.finish(duration_s)
    assert sorted(found, key=lambda each: (each.start_s, each.label)) == whole
    assert len(whole) > 20
    assert held <= 3 * WINDOW_S / hop_s + 1


def test_an_event_is_told_a_window_after_its_end() -> None:
    starts, scores = heard(60, 1.0, (10, 13))
    finder = EventFinder([0.5], WINDOW_S, 1.0)
    told = [starts[at] for at in range(len(starts)) if finder.feed(starts[at : at + 1], scores[at : at + 1])]
    above = np.flatnonzero(scores[:, 0] > 0.5)
    assert told == [starts[above[-1] + 5]]


def test_missing_windows_end_an_event_where_they_begin() -> None:
    finder = EventFinder([0.5], WINDOW_S, WINDOW_S)
    assert finder.feed([0.0, 5.0], np.array([[0.1], [0.9]])) == []
    [event] = finder.break_off(10.0)
    assert (event.start_s, event.end_s) == (5, 10)
    finder.feed([30.0], np.array([[0.9]]))
    [event] = finder.finish(35.0)
    assert (event.start_s, event.end_s) == (30, 35)
