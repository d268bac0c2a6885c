"""The circuit breaker: when it opens, and how it closes again."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from service.cache.breaker import Breaker


class Server:
    """A server that answers probes only while told to."""

    def __init__(self) -> None:
        self.well = False
        self.probes = 0
        self.probed = asyncio.Event()

    async def probe(self) -> None:
        self.probes += 1
        self.probed.set()
        if not self.well:
            raise ConnectionRefusedError


async def until_closed(breaker: Breaker) -> None:
    async with asyncio.timeout(20):
        while breaker.open:  # noqa: ASYNC110 - a breaker has no event for it
            await asyncio.sleep(0.001)


async def test_opens_after_so_many_failures_in_a_row() -> None:
    breaker = Breaker(Server().probe, failures=3)
    opened = []
    for _ in range(2):
        breaker.failed(breaker.era)
    breaker.succeeded()
    for _ in range(3):
        breaker.failed(breaker.era)
        opened.append(breaker.open)
    assert opened == [False, False, True]
    await breaker.close()


async def test_stays_open_while_probes_fail_and_closes_with_the_first_that_does_not() -> None:
    server = Server()
    breaker = Breaker(server.probe, failures=1, first_s=0.001, longest_s=0.002)
    breaker.failed(breaker.era)
    while server.probes < 4:
        assert breaker.open
        await asyncio.sleep(0.001)
    server.well = True
    await until_closed(breaker)
    probes = server.probes
    await asyncio.sleep(0.01)
    assert server.probes == probes, "a closed breaker probes nothing"


async def test_it_opens_again_after_it_has_closed() -> None:
    server = Server()
    server.well = True
    breaker = Breaker(server.probe, failures=2, first_s=0.001)
    for _ in range(3):
        for _ in range(2):
            breaker.failed(breaker.era)
        assert breaker.open
        await until_closed(breaker)


async def test_probes_become_ever_more_seldom() -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    six = asyncio.Event()

    async def probe() -> None:
        times.append(loop.time())
        if len(times) == 6:
            six.set()
        raise ConnectionRefusedError

    breaker = Breaker(probe, failures=1, first_s=0.01, longest_s=0.08)
    breaker.failed(breaker.era)
    await six.wait()
    await breaker.close()
    pauses = [after - before for before, after in pairwise(times)]
    assert all(pause >= least for pause, least in zip(pauses, (0.02, 0.04, 0.08, 0.08, 0.08), strict=True))


async def test_a_failure_of_what_was_asked_before_it_closed_does_not_count() -> None:
    server = Server()
    server.well = True
    breaker = Breaker(server.probe, failures=1, first_s=0.001)
    before = breaker.era
    breaker.failed(before)
    await until_closed(breaker)
    breaker.failed(before)
    assert not breaker.open


async def test_failures_while_open_start_no_second_probe() -> None:
    server = Server()
    breaker = Breaker(server.probe, failures=1, first_s=0.02)
    for _ in range(50):
        breaker.failed(breaker.era)
    await server.probed.wait()
    assert server.probes == 1
    await breaker.close()
