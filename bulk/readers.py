"""The reader processes from outside: each is given items, and replaced when it dies or makes no progress."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

from bulk.item import Failure, Item
from bulk.messages import Begin, Done, Filled, Free, FromReader, Read, Ready, Void
from bulk.setup import ReaderSetup
from model.native import Excerpt, Recording
from model.windows import Samples

SLOT_BYTES = 2 << 20
ORDERS = 2
"""Items that a reader has at a time: the next one is there when it has finished one."""
MOST_DEATHS = 3
"""Readers in a row that do not start, before the run is given up."""
ROOT = Path(__file__).parents[1]


class ReadersFailed(RuntimeError):
    """Readers cannot be started."""


@dataclass(eq=False)
class Slot:
    """A piece of a recording in shared memory. The reader may fill it again once it is freed."""

    process: _Process
    number: int

    def free(self) -> None:
        self.process.send(Free(self.number))
        self.process.slots_used -= 1


@dataclass(frozen=True)
class Filling:
    """Windows of an item, as `bulk.cutting.Piece` names them, and the samples of each: a view of the slot."""

    number: int
    slot: Slot
    at: int
    samples: Sequence[Samples | Excerpt]
    windows: tuple[tuple[int, int], ...]


Event = Filling | Void | Done


@dataclass(eq=False)
class _Process:
    popen: subprocess.Popen[bytes]
    channel: Connection
    slots: Samples
    orders: deque[Read] = field(default_factory=deque)
    slots_used: int = 0
    heard: float = field(default_factory=time.monotonic)
    ready: bool = False

    def send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it has died, which the next wait notices
            self.channel.send(message)


class Readers:
    """`count` processes, which hold `windows` windows in all before they wait for free slots. Not thread-safe."""

    def __init__(self, count: int, setup: ReaderSetup, windows: int) -> None:
        self._setup = setup
        self._slots = max(2, -(-windows // count))
        self.window = setup.window
        self._slot_samples = max(setup.window, SLOT_BYTES // 4)
        self._deaths = 0
        self._again: deque[Read] = deque()
        self._processes = [self._start() for _ in range(count)]

    def _start(self) -> _Process:
        ours, theirs = socket.socketpair()
        # Its modules are found wherever the run was started.
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        size = self._slots * self._slot_samples * 4
        memory = os.memfd_create("anysound-bulk", os.MFD_CLOEXEC)
        try:
            os.ftruncate(memory, size)
            popen = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "bulk.reader", str(theirs.fileno()), str(memory)],
                pass_fds=(theirs.fileno(), memory),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            )
            slots = np.frombuffer(mmap.mmap(memory, size), np.float32).reshape(self._slots, self._slot_samples)
        finally:
            theirs.close()
            os.close(memory)
        process = _Process(popen, Connection(ours.detach()), slots)
        process.send(Begin(self._setup, self._slots, self._slot_samples))
        return process

    @property
    def room(self) -> int:
        """How many items can be given now."""
        return max(0, sum(ORDERS - len(each.orders) for each in self._processes) - len(self._again))

    @property
    def busy(self) -> bool:
        """Whether any item is being read, or will be."""
        return bool(self._again) or any(each.orders for each in self._processes)

    def give(self, number: int, item: Item) -> None:
        self._order(Read(number, item))

    def _order(self, order: Read) -> None:
        process = min(self._processes, key=lambda each: len(each.orders))
        if not process.orders:
            process.heard = time.monotonic()
        process.orders.append(order)
        process.send(order)

    def events(self, also: Sequence[int], timeout: float) -> Iterator[Event]:
        """What readers have sent since the last call. Waits for it, or until a descriptor of `also` is readable.

        Raises ReadersFailed.
        """
        channels = {each.channel: each for each in self._processes}
        for ready in wait([*channels, *also], timeout):
            if isinstance(ready, Connection):
                yield from self._heard(channels[ready])
        now = time.monotonic()
        for process in self._processes:
            stuck = process.orders and process.slots_used < self._slots and now - process.heard > self._setup.idle_s
            if stuck:
                process.popen.kill()
                detail = f"Reading made no progress for {self._setup.idle_s:g} s."
                yield from self._replace(process, Failure("timeout", detail))
        while self._again and any(len(each.orders) < ORDERS for each in self._processes):
            self._order(self._again.popleft())

    def _heard(self, process: _Process) -> Iterator[Event]:
        try:
            while process.channel.poll():
                message: FromReader = process.channel.recv()
                process.heard = time.monotonic()
                if isinstance(message, Ready):
                    process.ready, self._deaths = True, 0
                    continue
                if isinstance(message, Filled):
                    process.slots_used += 1
                    slot = Slot(process, message.slot)
                    samples = self._windows(message, process.slots[message.slot])
                    yield Filling(message.number, slot, message.at, samples, message.windows)
                    continue
                if isinstance(message, Done):
                    process.orders.popleft()
                yield message
        except (EOFError, OSError):
            status = process.popen.wait()
            how = signal.Signals(-status).name if status < 0 else f"status {status}"
            yield from self._replace(process, Failure("crashed", f"The reader process ended with {how}."))

    def _windows(self, filled: Filled, slot: Samples) -> list[Samples | Excerpt]:
        starts = [start for start, _ in filled.windows]
        if filled.native is None:
            return [slot[start : start + self.window] for start in starts]
        samples = slot.view(np.int16)[: filled.count]
        return list(Recording(samples, filled.native.rate, np.array(starts), filled.native.length))

    def _replace(self, process: _Process, failure: Failure) -> Iterator[Event]:
        """The item that the process was reading has failed; those behind it are given to others.

        Raises ReadersFailed where it is not the item's fault.
        """
        process.popen.wait()
        process.channel.close()
        orders = deque(process.orders)
        if not process.ready:
            self._deaths += 1
            if self._deaths >= MOST_DEATHS:
                raise ReadersFailed(f"reader processes cannot be started: {failure.detail}")
        elif orders:
            yield Done(orders.popleft().number, None, None, failure)
        self._again.extend(orders)
        process.orders.clear()
        self._processes[self._processes.index(process)] = self._start()

    def stop(self) -> None:
        for process in self._processes:
            process.popen.kill()
            process.channel.close()
        for process in self._processes:
            process.popen.wait()
