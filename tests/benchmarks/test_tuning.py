"""The search for a system's best settings: few probes, none after its time, and none for what is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tuning import Kept, Settings, Tried, described, search

BATCHES = (1, 4, 8, 16, 32)


@pytest.mark.parametrize(
    ("speeds", "probed"),
    [
        ({8: 2.0, 16: 3.0, 32: 2.5}, [8, 16, 32]),
        ({8: 3.0, 16: 2.0, 4: 2.0}, [8, 16, 4]),
        ({8: 2.0, 16: 1.0, 4: 3.0, 1: 4.0}, [8, 16, 4, 1]),
    ],
    ids=["larger is better", "the first is best", "smaller is better"],
)
def test_batches_are_tried_in_the_direction_that_gains(speeds: dict[int, float], probed: list[int]) -> None:
    tried = search(lambda settings: speeds[settings.batch], BATCHES, 8, (1,), 60)
    assert [each.settings.batch for each in tried] == probed


def test_other_numbers_of_workers_are_tried_at_the_best_batch() -> None:
    speeds = {(8, 2): 2.0, (16, 2): 3.0, (32, 2): 1.0, (16, 1): 2.9}
    tried = search(lambda settings: speeds[settings.batch, settings.workers], BATCHES, 8, (2, 1), 60)
    assert {(each.settings.batch, each.settings.workers): each.clips_s for each in tried} == speeds


def test_no_probe_begins_after_the_time() -> None:
    assert search(lambda _: 1.0, BATCHES, 8, (2, 1), 0.0) == [Tried(Settings(8, 2), 1.0)]


def test_a_result_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "cache" / "settings.json")
    slow, fast = Tried(Settings(8, 1), 1.0), Tried(Settings(16, 2), 2.0)
    assert kept.of("a model in float32", lambda: [slow, fast]) == [fast, slow]
    assert Kept(tmp_path / "cache" / "settings.json").of("a model in float32", list) == [fast, slow]
    assert kept.of("another", lambda: [slow]) == [slow]
    assert described([fast, slow]) == "2 x batch 16 is best with 2.0 clips/s (1 x batch 8: 1.0)"
