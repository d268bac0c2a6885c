"""How a run ends before its last step: by a signal, or because it cannot go on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class TrainingStopped(RuntimeError):
    """The run cannot go on; the message says why. The last saved state is kept."""


class Stop:
    """`wanted` becomes true when a signal has asked the run to end."""

    wanted = False


@contextmanager
def stopping_on_signals() -> Iterator[Stop]:
    """Inside the block SIGTERM and SIGINT set `wanted` instead of ending the process.

    The loop then finishes its step, saves its state, and returns.
    """
    stop = Stop()

    def ask(_number: int, _frame: object) -> None:
        stop.wanted = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
