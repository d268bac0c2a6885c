"""Processes kept alive. The children are small programs: one works, one hangs, one is misconfigured."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.supervise.processes import FAILED, Child, Supervisor
from tests.conftest import ROOT

WORKS = """
import sys, time
from service import lifeline
heartbeat = lifeline.attach(int(sys.argv[-1]))
while lifeline.heard(heartbeat) is not None:
    lifeline.beat(heartbeat)
    time.sleep(0.02)
"""
HANGS = "import time; time.sleep(60)"
MISCONFIGURED = "import os, sys; sys.exit(os.EX_CONFIG)"


def child(name: str, program: Callable[[int], str], start_limit_s: float = 60) -> Child:
    """`program` makes Python code from how often the child was restarted."""
    return Child(
        name,
        lambda restarts: [sys.executable, "-c", program(restarts)],
        environment={"PYTHONPATH": str(ROOT)},
        start_limit_s=start_limit_s,
    )


@contextmanager
def supervised(supervisor: Supervisor) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield thread
    finally:
        supervisor.stop()
        supervisor.stop()
        thread.join(20)


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def pid(of: Child) -> int | None:
    return None if of.process is None else of.process.pid


def test_a_child_that_hangs_while_starting_is_killed_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    worker = child("worker", lambda restarts: WORKS if restarts else HANGS, start_limit_s=0.5)
    with supervised(Supervisor([worker], [child("api", lambda _: WORKS)], 1)):
        until(lambda: worker.restarts == 1)
        worker.start_limit_s = 60
        until(lambda: worker.ready)
    assert "worker is not ready after 0 s, its limit: killing it" in caplog.text
    assert "worker ended with SIGKILL: starting it again in 0.1 s" in caplog.text


def test_a_misconfigured_child_ends_a_service_that_starts() -> None:
    supervisor = Supervisor([child("worker", lambda _: MISCONFIGURED)], [child("api", lambda _: WORKS)], 1)
    assert supervisor.run() == FAILED


@pytest.mark.parametrize("kind", ["worker", "api"])
def test_a_child_misconfigured_later_is_retried_while_the_others_go_on(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its weights, or its keys, are being replaced."""

    def program(restarts: int) -> str:
        return MISCONFIGURED if 0 < restarts < 3 else WORKS

    odd, sibling, other = child("odd", program), child("sibling", lambda _: WORKS), child("other", lambda _: WORKS)
    pair, alone = [odd, sibling], [other]
    supervisor = Supervisor(pair, alone, 1) if kind == "worker" else Supervisor(alone, pair, 1)
    with supervised(supervisor) as thread:
        until(lambda: odd.ready and sibling.ready and other.ready)
        others = pid(sibling), pid(other)
        odd.signal(signal.SIGKILL)
        until(lambda: odd.restarts == 3 and odd.ready)
        assert (pid(sibling), pid(other)) == others
        assert thread.is_alive()
    assert caplog.text.count("odd ended with a configuration error, while the others go on") == 2


def test_a_child_that_starts_misconfigured_beside_a_ready_sibling_is_retried(tmp_path: Path) -> None:
    waiting, replaced = tmp_path / "waiting", tmp_path / "replaced"
    waits = (
        "import os, pathlib, sys\n"
        f"if not pathlib.Path({str(waiting)!r}).exists(): sys.exit(1)\n"
        f"if not pathlib.Path({str(replaced)!r}).exists(): sys.exit(os.EX_CONFIG)\n"
    )
    sibling, late = child("sibling", lambda _: WORKS), child("late", lambda _: waits + WORKS)
    with supervised(Supervisor([sibling, late], [child("api", lambda _: WORKS)], 1)):
        until(lambda: sibling.ready)
        waiting.touch()
        before = late.restarts
        until(lambda: late.restarts >= before + 2)
        assert sibling.ready
        replaced.touch()
        until(lambda: late.ready)


def test_it_reports_how_many_processes_are_ready() -> None:
    seen: list[tuple[str, int, int]] = []
    workers = [child("worker", lambda _: WORKS), child("slow", lambda _: HANGS)]
    with supervised(Supervisor(workers, [child("api", lambda _: WORKS)], 1, lambda *each: seen.append(each))):
        until(lambda: ("api", 1, 1) in seen and ("worker", 2, 1) in seen)
        workers[0].signal(signal.SIGKILL)
        until(lambda: seen[-2:] == [("worker", 2, 0), ("api", 1, 1)])
