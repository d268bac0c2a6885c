"""Calls that are repeated: after refusals and broken connections, never beyond their time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from anysound_client import AsyncClient, ConnectionFailed, DeadlineExceeded, Overloaded, TimedOut

from tests.client.conftest import RefusingProxy

CROW = Path(__file__).parents[2] / "examples" / "crow.flac"
LABELS = ["crow", "drums"]


def through(proxy: RefusingProxy, **options: float) -> AsyncClient:
    return AsyncClient(f"http://127.0.0.1:{proxy.port}", **options)  # type: ignore[arg-type]


async def test_a_refusal_is_followed_by_another_attempt_after_the_time_it_asks_for(proxy: RefusingProxy) -> None:
    proxy.refusals = 2
    began = time.monotonic()
    async with through(proxy) as client:
        assert (await client.classify(CROW, LABELS)).result.best.label == "crow"
    assert time.monotonic() - began >= 2 * proxy.retry_after_s
    assert proxy.connections == 3


async def test_a_broken_connection_is_followed_by_another_attempt(proxy: RefusingProxy) -> None:
    proxy.drops = 2
    async with through(proxy) as client:
        assert (await client.classify(CROW, LABELS)).result.best.label == "crow"


async def test_no_attempt_is_made_that_could_not_end_in_time(proxy: RefusingProxy) -> None:
    proxy.refusals = 1
    proxy.retry_after_s = 60
    began = time.monotonic()
    async with through(proxy) as client:
        with pytest.raises(Overloaded, match="too much at once") as caught:
            await client.classify(CROW, LABELS, timeout_s=5)
    assert caught.value.retry_after_s == 60
    assert time.monotonic() - began < 5


async def test_without_retries_the_first_failure_is_raised(proxy: RefusingProxy) -> None:
    proxy.refusals = proxy.drops = 1
    async with through(proxy, retries=0) as client:
        with pytest.raises(Overloaded):
            await client.classify(CROW, LABELS)
        with pytest.raises(ConnectionFailed):
            await client.classify(CROW, LABELS)


async def test_a_service_that_stalls_costs_no_more_than_the_calls_time(proxy: RefusingProxy) -> None:
    proxy.fault = "black hole"
    async with through(proxy) as client:
        with pytest.raises(TimedOut):
            await client.classify(CROW, LABELS, timeout_s=1)


async def test_the_service_is_told_how_long_the_caller_waits(proxy: RefusingProxy) -> None:
    async with through(proxy) as client:
        with pytest.raises((TimedOut, Overloaded, DeadlineExceeded)):  # whoever notices first
            await client.classify([CROW] * 32, LABELS, timeout_s=0.01)
