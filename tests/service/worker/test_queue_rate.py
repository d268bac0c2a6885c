"""The estimate of how fast the device works off the queue."""

from __future__ import annotations

import pytest

from service.worker.queue_rate import QueueRate


def test_finds_the_line_that_batches_lie_on() -> None:
    rate = QueueRate()
    for cost in (5.0, 10.0, 40.0, 80.0):
        rate.observe(cost, 0.02 * cost + 0.1)
    assert rate.s_per_cost == pytest.approx(0.02)
    assert rate.s_per_batch == pytest.approx(0.1)
    assert rate.batch_s(20) == pytest.approx(0.5)


def test_a_queue_pays_b_once_a_batch() -> None:
    rate = QueueRate()
    for cost in (5.0, 10.0):
        rate.observe(cost, 0.02 * cost + 0.1)
    assert rate.queue_s(100, batch_cost=40) == pytest.approx(0.02 * 100 + 3 * 0.1)


def test_equal_batches_are_proportional() -> None:
    rate = QueueRate()
    for _ in range(10):
        rate.observe(8.0, 0.4)
    assert rate.s_per_cost == pytest.approx(0.05)
    assert rate.s_per_batch == 0
    assert rate.queue_s(80, batch_cost=8) == pytest.approx(4.0)


def test_one_batch_is_enough() -> None:
    rate = QueueRate()
    rate.observe(10.0, 0.5)
    assert rate.batch_s(20) == pytest.approx(1.0)


def test_before_any_batch_the_prior_holds() -> None:
    assert QueueRate().queue_s(100, 10) == 0
    assert QueueRate(prior=0.1).queue_s(100, 10) == pytest.approx(10)


def test_a_falling_line_becomes_a_constant() -> None:
    rate = QueueRate()
    rate.observe(1.0, 0.5)
    rate.observe(10.0, 0.3)
    assert rate.s_per_cost == 0
    assert rate.s_per_batch == pytest.approx(0.4)


def test_a_negative_start_becomes_a_line_through_zero() -> None:
    rate = QueueRate()
    rate.observe(10.0, 0.1)
    rate.observe(20.0, 1.0)
    assert rate.s_per_batch == 0
    assert rate.s_per_cost == pytest.approx((10 * 0.1 + 20 * 1.0) / (100 + 400))


def test_old_batches_are_forgotten() -> None:
    rate = QueueRate(history=3)
    for _ in range(3):
        rate.observe(10.0, 9.0)
    for _ in range(3):
        rate.observe(10.0, 1.0)
    assert rate.batch_s(10) == pytest.approx(1.0)


def test_an_empty_queue_takes_no_time() -> None:
    rate = QueueRate(prior=1.0)
    assert rate.queue_s(0, 10) == 0
    assert rate.batch_s(0) == 0
