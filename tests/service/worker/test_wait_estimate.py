"""What the device runs, how long it takes, and how many prompts fit into a batch."""

from __future__ import annotations

import pytest

from service.worker.requests import Batch, Kind
from service.worker.wait_estimate import TEXT_BATCH_S, QueueLimits, WaitEstimate

LIMITS = QueueLimits(batch_seconds=40, batch_tokens=4_000)


def batch(kind: Kind, cost: float) -> Batch:
    return Batch(kind, [], cost, [])


def test_a_running_batch_counts_with_what_is_left_of_it() -> None:
    estimate = WaitEstimate(LIMITS)
    estimate.learn(Kind.AUDIO, 40, 4)
    running = batch(Kind.AUDIO, 40)
    assert estimate.busy_s(now=10) == 0
    estimate.started(running, now=10)
    assert not estimate.idle
    assert estimate.busy_s(now=11) == 1
    assert estimate.running_s(now=11) == pytest.approx(3)
    assert estimate.wait_s(Kind.AUDIO, ahead=10, others=0, now=11) == pytest.approx(3 + 1)
    estimate.finished(running, now=14)
    assert estimate.busy_s(now=14) == 0
    assert estimate.running_s(now=14) == 0


def test_of_the_other_kind_no_more_counts_than_has_its_turn() -> None:
    estimate = WaitEstimate(LIMITS)
    estimate.learn(Kind.AUDIO, 40, 4)
    estimate.learn(Kind.TEXT, 4_000, TEXT_BATCH_S)
    assert estimate.wait_s(Kind.AUDIO, ahead=40, others=1e6, now=0) == pytest.approx(4 + TEXT_BATCH_S)
    assert estimate.wait_s(Kind.AUDIO, ahead=80, others=1e6, now=0) == pytest.approx(8 + 2 * TEXT_BATCH_S)


class TestTextBatches:
    @staticmethod
    def largest(s_per_token: float, s_per_batch: float, batches: int = 50) -> float:
        """The cost of a batch once the device has run that many full ones."""
        estimate = WaitEstimate(LIMITS)
        estimate.learn(Kind.TEXT, 10, 10 * s_per_token + s_per_batch)
        now = 0.0
        for _ in range(batches):
            full = batch(Kind.TEXT, estimate.batch_cost(Kind.TEXT))
            estimate.started(full, now)
            now += full.cost * s_per_token + s_per_batch
            estimate.finished(full, now)
        return estimate.batch_cost(Kind.TEXT)

    def test_a_batch_takes_as_long_as_a_prompt_may_wait(self) -> None:
        cost = self.largest(s_per_token=0.0003, s_per_batch=0.01)
        assert cost * 0.0003 + 0.01 == pytest.approx(TEXT_BATCH_S, rel=0.01)

    def test_a_fast_device_is_bounded_by_tokens(self) -> None:
        assert self.largest(s_per_token=1e-6, s_per_batch=0.005) == LIMITS.batch_tokens

    def test_a_slow_device_runs_prompts_one_by_one(self) -> None:
        assert self.largest(s_per_token=0.2, s_per_batch=0.0) == 1

    def test_batches_shrink_when_the_device_gets_slower(self) -> None:
        estimate = WaitEstimate(LIMITS)
        for now in range(20):
            full = batch(Kind.TEXT, estimate.batch_cost(Kind.TEXT))
            estimate.started(full, now)
            estimate.finished(full, now + full.cost * 0.001)
        assert estimate.batch_cost(Kind.TEXT) == pytest.approx(100)

    def test_what_runs_beside_other_batches_counts_from_start_to_end(self) -> None:
        estimate = WaitEstimate(LIMITS)
        text = batch(Kind.TEXT, 100)
        estimate.started(text, now=0)
        for now in range(10):
            audio = batch(Kind.AUDIO, 40)
            estimate.started(audio, now / 10)
            estimate.finished(audio, now / 10 + 0.09)
        estimate.finished(text, now=1)
        assert estimate.batch_cost(Kind.TEXT) == pytest.approx(100 * TEXT_BATCH_S)
