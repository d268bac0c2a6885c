"""The process that reads and decodes items: `python -m bulk.reader CHANNEL MEMORY`, started by `bulk.readers`.

It is a process so that a decoder that crashes, hangs or takes too much memory costs one item.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import resource
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from bulk.cutting import Cutter, Piece, windows_of
from bulk.item import Failure, FetchError, Item
from bulk.messages import Begin, Done, Filled, Free, Native, Read, Ready, Void
from bulk.reading import opened
from model import plain
from model.audio import AudioError, ChannelsCancel, Limits, Samples, stream
from model.decoding import decode
from model.memory import keep_freed_memory
from model.native import Integers, ratio

SHORT = Limits(max_seconds=120, max_decoded_bytes=64 << 20)
"""Recordings up to this length are decoded at once, which is faster; longer ones are streamed."""
MEMORY_BYTES = 3 << 30
SPARE_BYTES = 64 << 20
PR_SET_PDEATHSIG = 1


class Reader:
    """Reads one item after the other, and puts their samples into free slots."""

    def __init__(self, channel: Connection, memory: mmap.mmap, begin: Begin) -> None:
        self._channel = channel
        self._setup = begin.setup
        self._limits = Limits(max_seconds=begin.setup.max_seconds, max_decoded_bytes=1 << 50)
        self._slots = np.frombuffer(memory, np.float32).reshape(begin.slots, begin.slot_samples)
        self._free = deque(range(begin.slots))
        self._waiting: deque[Read] = deque()

    def run(self) -> None:
        """Until the channel closes."""
        while True:
            while not self._waiting:
                self._receive()
            order = self._waiting.popleft()
            self._channel.send(self._read(order.number, order.item))

    def _receive(self) -> None:
        message = self._channel.recv()
        if isinstance(message, Free):
            self._free.append(message.slot)
        else:
            self._waiting.append(message)

    def _read(self, number: int, item: Item) -> Done:
        content_hash: str | None = None
        try:
            with opened(item, self._setup) as (source, content_hash):
                length = self._send(number, source)
            return Done(number, content_hash, length / self._setup.rate, None)
        except (AudioError, FetchError) as error:
            return Done(number, content_hash, None, Failure(error.reason, error.detail))
        except MemoryError:
            detail = f"The item needs more than the {MEMORY_BYTES >> 30} GiB of memory that a reader has."
            return Done(number, content_hash, None, Failure("memory", detail))
        except EOFError:
            raise
        except Exception as error:  # noqa: BLE001 - remote file systems and decoders raise anything; it costs one item
            text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
            return Done(number, content_hash, None, Failure("unreadable", f"{type(error).__name__}: {text[:500]}"))

    def _send(self, number: int, source: bytes | Path) -> int:
        """Send the windows of a recording; returns its length in samples. Raises AudioError, OSError."""
        if isinstance(source, bytes) and self._limits.max_seconds >= SHORT.max_seconds:
            try:
                return self._send_short(number, source)
            except AudioError as error:
                if error.code != "audio_too_long":
                    raise
        data = memoryview(source) if isinstance(source, bytes) else source
        channels: dict[int, int] = {}
        while True:
            try:
                return self._send_pieces(number, lambda: stream(data, self._setup.rate, self._limits, channels))
            except ChannelsCancel as found:
                channels[found.part] = found.channel
                self._channel.send(Void(number))

    def _send_short(self, number: int, source: bytes) -> int:
        """As `_send`. A recording of 16-bit integers in one channel is sent as it is if it fits into a slot."""
        slot_bytes = 4 * self._slots.shape[1]
        whole = plain.read(source, self._setup.rate, SHORT)
        if whole is not None and whole.samples.nbytes <= slot_bytes:
            return self._send_native(number, whole)
        clip = decode(source, self._setup.rate, SHORT, slot_bytes)
        if isinstance(clip, Integers):
            return self._send_native(number, clip)
        return self._send_pieces(number, lambda: iter((clip,)))

    def _send_native(self, number: int, clip: Integers) -> int:
        setup = self._setup
        found = ratio(clip.rate, setup.rate)
        assert found is not None  # noqa: S101 - of a rate that engines resample
        length = found.samples(len(clip.samples))
        slot = self._free_slot()
        self._slots[slot].view(np.int16)[: len(clip.samples)] = clip.samples
        windows = windows_of(length, setup.window, setup.hop, setup.event_hop)
        self._channel.send(Filled(number, slot, 0, len(clip.samples), windows, Native(clip.rate, length)))
        return length

    def _send_pieces(self, number: int, blocks: Callable[[], Iterator[Samples]]) -> int:
        setup = self._setup
        cutter = Cutter(setup.window, setup.hop, setup.event_hop, setup.padding, self._slots.shape[1])
        for piece in cutter.pieces(blocks()):
            self._fill(number, piece)
        return cutter.length

    def _free_slot(self) -> int:
        """The number of a slot to fill, once there is one."""
        while self._channel.poll(0 if self._free else None):
            self._receive()
        return self._free.popleft()

    def _fill(self, number: int, piece: Piece) -> None:
        slot = self._free_slot()
        self._slots[slot, : len(piece.samples)] = piece.samples
        self._channel.send(Filled(number, slot, piece.at, len(piece.samples), piece.windows))


def main(channel: int, memory: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the run stops its readers itself, once their items are written
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    keep_freed_memory(SPARE_BYTES)
    connection = Connection(channel)
    begin = connection.recv()
    mapped = mmap.mmap(memory, begin.slots * begin.slot_samples * 4)
    gc.freeze()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(Ready())
        Reader(connection, mapped, begin).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
