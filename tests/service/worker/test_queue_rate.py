"""The estimate of how fast the device drains the queue."""

from __future__ import annotations

import pytest

from service.worker.queue_rate import DrainModel


def test_finds_the_line_that_batches_lie_on() -> None:
    drain = DrainModel()
    for cost in (5.0, 10.0, 40.0, 80.0):
        drain.observe(cost, 0.02 * cost + 0.1)
    assert drain.a == pytest.approx(0.02)
    assert drain.b == pytest.approx(0.1)
    assert drain.batch_s(20) == pytest.approx(0.5)


def test_a_queue_pays_b_once_a_batch() -> None:
    drain = DrainModel()
    for cost in (5.0, 10.0):
        drain.observe(cost, 0.02 * cost + 0.1)
    assert drain.drain_s(100, batch_cost=40) == pytest.approx(0.02 * 100 + 3 * 0.1)


def test_equal_batches_are_proportional() -> None:
    drain = DrainModel()
    for _ in range(10):
        drain.observe(8.0, 0.4)
    assert drain.a == pytest.approx(0.05)
    assert drain.b == 0
    assert drain.drain_s(80, batch_cost=8) == pytest.approx(4.0)


def test_one_batch_is_enough() -> None:
    drain = DrainModel()
    drain.observe(10.0, 0.5)
    assert drain.batch_s(20) == pytest.approx(1.0)


def test_before_any_batch_the_prior_holds() -> None:
    assert DrainModel().drain_s(100, 10) == 0
    assert DrainModel(prior=0.1).drain_s(100, 10) == pytest.approx(10)


def test_a_falling_line_becomes_a_constant() -> None:
    drain = DrainModel()
    drain.observe(1.0, 0.5)
    drain.observe(10.0, 0.3)
    assert drain.a == 0
    assert drain.b == pytest.approx(0.4)


def test_a_negative_start_becomes_a_line_through_zero() -> None:
    drain = DrainModel()
    drain.observe(10.0, 0.1)
    drain.observe(20.0, 1.0)
    assert drain.b == 0
    assert drain.a == pytest.approx((10 * 0.1 + 20 * 1.0) / (100 + 400))


def test_old_batches_are_forgotten() -> None:
    drain = DrainModel(history=3)
    for _ in range(3):
        drain.observe(10.0, 9.0)
    for _ in range(3):
        drain.observe(10.0, 1.0)
    assert drain.batch_s(10) == pytest.approx(1.0)


def test_an_empty_queue_takes_no_time() -> None:
    drain = DrainModel(prior=1.0)
    assert drain.drain_s(0, 10) == 0
    assert drain.batch_s(0) == 0
