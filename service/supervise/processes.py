"""Start child processes, restart those that die or hang, and stop them in order."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType

from service import lifeline

log = logging.getLogger("anysound.supervisor")

TICK_S = 0.25
FIRST_BACKOFF_S = 0.1
LAST_BACKOFF_S = 10.0
STEADY_S = 30.0
"""A child that was ready and lived this long is restarted without a growing delay."""
START_S = 120.0
"""Default limit on starting; a child that is not ready by then is killed."""
HANG_S = 60.0
"""A child that was ready and has been silent for this long is killed."""
STOP_S = 3.0
"""How long workers may take to end once no API process needs them."""
FAILED = 1
"""Exit status of a service that cannot start."""

Report = Callable[[str, int, int], None]
"""Takes a kind of process (`worker` or `api`), how many are wanted, and how many are ready."""


@dataclass
class Child:
    """A process to keep running. `command` returns its command line, given how often it was restarted.

    `inherited` are file descriptors that it shares; `on_exit` is called after it has exited.
    """

    name: str
    command: Callable[[int], list[str]]
    inherited: tuple[int, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    on_exit: Callable[[], None] | None = None
    start_limit_s: float = START_S
    process: subprocess.Popen[bytes] | None = None
    heartbeat: socket.socket | None = None
    restarts: int = 0
    started: float = 0.0
    ready: bool = False
    was_ready: bool = False
    heard: float = 0.0
    backoff_s: float = 0.0
    due: float = 0.0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, now: float) -> None:
        ours, childs = lifeline.pair()
        command = [*self.command(self.restarts), "--lifeline", str(childs.fileno())]
        self.process = subprocess.Popen(  # noqa: S603 - our own modules
            command,
            pass_fds=(childs.fileno(), *self.inherited),
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            process_group=0,  # so that a terminal's Ctrl-C reaches the supervisor alone
        )
        childs.close()
        self.heartbeat, self.started, self.heard, self.ready = ours, now, now, False

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.running:
            self.process.send_signal(number)

    def reap(self) -> int:
        """Reap the process. Returns its exit status, negative for a signal."""
        assert self.process is not None  # noqa: S101 - only a started process is reaped
        status = self.process.wait()
        if self.on_exit is not None:
            self.on_exit()
        if self.heartbeat is not None:
            self.heartbeat.close()
        self.process, self.heartbeat = None, None
        return status

    def schedule(self, now: float) -> None:
        """Set the time of the restart: at once after a long run, with growing delays in a crash loop."""
        steady = self.ready and now - self.started > STEADY_S
        self.backoff_s = FIRST_BACKOFF_S if steady or not self.backoff_s else min(2 * self.backoff_s, LAST_BACKOFF_S)
        self.due = now + self.backoff_s
        self.restarts += 1
        self.ready = False


class Supervisor:
    """Keeps workers and API processes alive until SIGTERM or SIGINT.

    SIGTERM drains: the API processes report not ready, keep serving until a load balancer has noticed, finish what they
    have accepted and end, all within `drain_s`. SIGINT skips the wait for the load balancer. A second signal ends
    everything at once.

    A child that exits with EX_CONFIG before any of its kind was ready ends the service: the configuration is wrong.
    Later the cause is a file that is being replaced: the child is restarted, and the others go on.
    """

    def __init__(
        self, workers: Sequence[Child], apis: Sequence[Child], drain_s: float, report: Report = lambda *_: None
    ) -> None:
        self.workers = list(workers)
        self.apis = list(apis)
        self.drain_s = drain_s
        self.report = report
        self.status = 0
        self._signals: list[signal.Signals] = []
        self._stop_by: float | None = None

    @property
    def children(self) -> list[Child]:
        return [*self.workers, *self.apis]

    def stop(self) -> None:
        """Do what SIGTERM does. Thread-safe."""
        self._signals.append(signal.SIGTERM)

    def run(self) -> int:
        """Run until everything has stopped. Returns the exit status."""
        with self._wakeup() as selector:
            try:
                for child in self.children:
                    child.start(time.monotonic())
                while self._step(time.monotonic()):
                    selector.select(TICK_S)
                    with contextlib.suppress(BlockingIOError):
                        for key in selector.get_map().values():
                            key.fileobj.recv(64)  # type: ignore[union-attr]
                self._stop_workers()
            finally:
                for child in self.children:
                    child.signal(signal.SIGKILL)
                    if child.process is not None:
                        child.reap()
        return self.status

    @contextlib.contextmanager
    def _wakeup(self) -> Iterator[selectors.BaseSelector]:
        """A selector that wakes the main loop on signals, which are queued, and on a child's exit."""

        def note(number: int, _: FrameType | None) -> None:
            self._signals.append(signal.Signals(number))

        if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
            yield selectors.DefaultSelector()
            return
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)}
        signal.signal(signal.SIGTERM, note)
        signal.signal(signal.SIGINT, note)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        old = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            with selectors.DefaultSelector() as selector, reader, writer:
                selector.register(reader, selectors.EVENT_READ)
                yield selector
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _step(self, now: float) -> bool:
        """Handle signals and children once. False when the main loop should end."""
        while self._signals:
            number = self._signals.pop(0)
            if self._stop_by is not None:
                log.warning("%s again: stopping at once", number.name)
                return False
            log.info("%s: draining", number.name)
            self._stop_by = now + self.drain_s
            for api in self.apis:
                api.signal(number)
        for child in self.children:
            self._look_after(child, now)
        self._reap_orphans()
        for kind, children in (("worker", self.workers), ("api", self.apis)):
            self.report(kind, len(children), sum(child.ready for child in children))
        if self.status:
            return False
        if self._stop_by is None:
            return True
        if now > self._stop_by and any(api.running for api in self.apis):
            log.warning("not drained after %.0f s: stopping", self.drain_s)
            return False
        return any(api.running for api in self.apis)

    def _look_after(self, child: Child, now: float) -> None:
        if child.process is None:
            if child.due <= now and self._stop_by is None:
                child.start(now)
            return
        if child.process.poll() is not None:
            self._exited(child, now)
            return
        if child.heartbeat is not None and lifeline.heard(child.heartbeat):
            child.heard = now
            if not child.ready:
                child.ready = child.was_ready = True
                log.info("%s is ready after %.1f s", child.name, now - child.started)
        elif child.ready and now - child.heard > HANG_S:
            log.error("%s has been silent for %.0f s: killing it", child.name, now - child.heard)
            child.signal(signal.SIGKILL)
        elif not child.ready and now - child.started > child.start_limit_s:
            log.error("%s is not ready after %.0f s, its limit: killing it", child.name, child.start_limit_s)
            child.signal(signal.SIGKILL)

    def _exited(self, child: Child, now: float) -> None:
        status = child.reap()
        if self._stop_by is not None:
            child.ready = False
            return
        kind = self.workers if child in self.workers else self.apis
        if status == os.EX_CONFIG and not any(each.was_ready for each in kind):
            self.status = FAILED
            return
        child.schedule(now)
        cause = signal.Signals(-status).name if status < 0 else f"status {status}"
        if status == os.EX_CONFIG:
            cause = "a configuration error, while the others go on"
        log.error("%s ended with %s: starting it again in %.1f s", child.name, cause, child.backoff_s)

    def _reap_orphans(self) -> None:
        """As process 1, reap processes whose parent has died."""
        if os.getpid() != 1:
            return
        ours = {child.process.pid for child in self.children if child.process is not None}
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and found.si_pid not in ours:
                os.waitpid(found.si_pid, 0)

    def _stop_workers(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for worker in self.workers:
            if worker.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.0, deadline - time.monotonic()))


def module(name: str, *arguments: str) -> list[str]:
    """The command line that runs a module of this project."""
    return [sys.executable, "-m", name, *arguments]
