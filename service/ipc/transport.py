"""The protocol between API processes and a worker: ZeroMQ over a Unix socket, a small JSON header and a raw buffer.

A worker listens (ROUTER) on `ipc://` in a directory that only this user can enter; each API process connects (DEALER).
Nothing is pickled: windows and embeddings are sent as bytes of numbers.

No message is dropped and no send blocks while the connection lasts: neither end bounds what it has to send, and what an
end does not receive stays with the sender. Memory is bounded by what is asked for: an API process has up to
`MAX_PENDING` requests at a worker, and the worker's queue admits only so much work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import zmq
from msgspec import Struct, field

from model.config import ClapConfig
from model.info import ModelInfo
from model.native import Recording, ratio
from service.ipc.embedding import Vectors

PART_BYTES = 16 << 20
"""The largest payload, unless a single window is larger: longer clips and lists of prompts are sent in parts."""
MAX_PENDING = 10_000
"""How many requests of one API process may wait for the answer of one worker."""
RECEIVED = 256
"""How many messages ZeroMQ receives in advance."""


class Malformed(ValueError):
    """The frames are not a message."""


class _Header(Struct, tag=True, forbid_unknown_fields=True):
    """The base of all messages: in JSON, `type` is the name of the class."""


class Hello(_Header):
    """API process → worker, on connecting and then every second: it is alive. The first one is answered with Info."""


class Reserve(_Header):
    """API process → worker: keep room for `windows` windows. Answered with Reserved or Failed."""

    id: int
    windows: int
    priority: str
    deadline: float


class Release(_Header):
    """API process → worker: give back what is left of the reservation."""

    id: int


class Audio(_Header):
    """API process → worker, with windows float32 [rows, samples]. Answered with Done or Failed.

    With `rate`, the samples are those of a `model.native.Recording` instead, 16-bit integers at that rate, and
    `starts` [rows] and `length` are its members. `deadline` is in `time.monotonic()` seconds, the same in all
    processes. Messages of the same `group` belong to one HTTP request: they share its turns, and the reservation whose
    id it is. `request_id` is for the worker's log lines.
    """

    id: int
    rows: int
    priority: str
    deadline: float
    group: int
    request_id: str = ""
    rate: int = 0
    starts: list[int] = field(default_factory=list)
    length: int = 0


class Text(_Header):
    """API process → worker, with the prompts as a JSON list. Answered with Done or Failed."""

    id: int
    rows: int
    priority: str
    deadline: float
    group: int
    request_id: str = ""


class Cancel(_Header):
    """API process → worker: drop this job; nobody waits for it any more."""

    id: int


class Info(_Header):
    """Worker → API process: the checkpoint it serves, since when (`time.monotonic()`), and how long it took to start.

    Sent to an API process that is new to the worker, or that was silent for so long that its work was dropped.
    """

    model: dict[str, Any]
    ready_since: float
    startup_s: float


class Heartbeat(_Header):
    """Worker → API process, twice a second: the worker makes progress; `stats` are its counters."""

    stats: dict[str, Any]


class Reserved(_Header):
    """Worker → API process: the room is kept."""

    id: int


class Done(_Header):
    """Worker → API process, with embeddings float32 [rows, dim], the time in the queue and the time of the batch."""

    id: int
    rows: int
    queue_s: float
    compute_s: float


class Failed(_Header):
    """Worker → API process: there is no result. `error` is `overloaded`, `deadline_exceeded` or `rejected_item`."""

    id: int
    error: str
    detail: str
    retry_after_s: float = 0.0


Message = Hello | Reserve | Release | Audio | Text | Cancel | Info | Heartbeat | Reserved | Done | Failed
Buffer = bytes | memoryview
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Message)


def encode(message: Message, payload: Buffer = b"") -> list[Buffer]:
    """Frames: header, payload."""
    return [_ENCODER.encode(message), payload]


def decode(frames: Sequence[zmq.Frame]) -> tuple[Message, memoryview]:
    """The message and its payload, not copied. Raises Malformed."""
    try:
        header, payload = frames
        message: Message = _DECODER.decode(header.buffer)
    except ValueError as error:
        raise Malformed(f"not a message: {error}") from None
    return message, payload.buffer


def array_buffer(array: Vectors) -> memoryview:
    """The bytes of a float32 array; copied only if it is not contiguous."""
    return np.ascontiguousarray(array, np.float32).data.cast("B")


def buffer_array(payload: memoryview, rows: int) -> Vectors:
    """The same memory as float32 [rows, n]. Raises Malformed if the bytes do not make that many rows."""
    if rows < 1 or len(payload) % (4 * rows) or not payload:
        raise Malformed(f"{len(payload)} bytes are not {rows} rows of float32")
    return np.frombuffer(payload, np.float32).reshape(rows, -1)


def recording(message: Audio, payload: memoryview, target: int) -> Recording:
    """The recording that a message holds, for a model at `target` Hz. Raises Malformed."""
    starts = np.array(message.starts, np.int64)
    if ratio(message.rate, target) is None or not payload or len(payload) % 2:
        raise Malformed(f"{len(payload)} bytes at {message.rate} Hz are no recording")
    if starts.shape != (message.rows,) or message.rows < 1 or starts.min() < 0 or message.length < 1:
        raise Malformed(f"{len(starts)} starts for {message.rows} windows")
    return Recording(np.frombuffer(payload, "<i2"), message.rate, starts, message.length)


def model_to_json(info: ModelInfo) -> dict[str, Any]:
    """ModelInfo as JSON; `model_from_json` is the inverse."""
    return {**vars(info), "config": info.config.model_dump(mode="json")}


def model_from_json(data: dict[str, Any]) -> ModelInfo:
    return ModelInfo(**{**data, "config": ClapConfig.model_validate(data["config"])})


def listen(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, largest_frame: int) -> zmq.Socket[bytes]:
    """A worker's socket. A client that sends a larger frame is disconnected. Sending to a client that has gone raises
    ZMQError with EHOSTUNREACH."""
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.maxmsgsize = max(largest_frame, PART_BYTES)
    socket.router_mandatory = True
    socket.sndhwm = 0
    socket.rcvhwm = RECEIVED
    socket.bind(endpoint)
    return socket


def connecting(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """An API process' socket. It reconnects by itself; while the worker is not connected, sending raises zmq.Again."""
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.immediate = True
    socket.reconnect_ivl = 50
    socket.reconnect_ivl_max = 1000
    socket.sndhwm = 0
    socket.rcvhwm = RECEIVED
    return socket
