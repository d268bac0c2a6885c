"""One stream: windows are cut as the audio arrives, embedded one after the other, and answered with their scores.

A stream that falls behind drops its oldest windows and says so. A client that sends faster than real time is read no
faster than its windows are embedded.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np

from model.audio import AudioError
from model.audio.pcm import Pcm
from model.classify import LabelEmbeddings
from model.events import Event, EventFinder
from model.windows import StreamWindow, WindowCutter
from service.api.answer import Event as EventRow
from service.api.answer import rows
from service.api.problems import Code, Problem, invalid
from service.api.request import Fields
from service.cache.stored_vectors import rounded
from service.decoding.shape import Shape
from service.ipc.embedding import Embedder, EmbeddingError, ModelReplaced
from service.observe.metrics import STREAM_DROPPED, STREAM_LAG
from service.offload import off_loop

log = logging.getLogger("anysound.stream")

WAITING_WINDOWS = 3
"""Windows that wait for the worker before the oldest is dropped."""
AHEAD_S = 1.0
"""A client that has sent this much more audio than time has passed does not send live audio."""
LONGEST_WAIT_S = 5.0
"""Time within which a window has to be embedded."""
BRIEF_BYTES = 64 << 10
"""Messages up to this size are resampled on the event loop."""
BRIEF_LABELS = 256


class Channel(Protocol):
    """The client's end: `receive` gives audio, or None at the end of the stream. Both may raise Problem."""

    async def receive(self) -> bytes | None: ...

    async def send(self, message: bytes) -> None: ...


@dataclass(frozen=True)
class Scoring:
    """What a stream's windows are scored against. `thresholds` has that of each label."""

    names: Sequence[str]
    labels: LabelEmbeddings
    thresholds: Sequence[float]
    fields: Fields
    scale: float
    fingerprint: str


@dataclass(frozen=True)
class Due:
    """A window that waits, and when its last sample arrived, in `time.monotonic()` seconds."""

    window: StreamWindow
    arrived: float


class Session:
    """Reads a channel until the stream ends, and answers each of its windows."""

    def __init__(
        self, channel: Channel, embedder: Embedder, scoring: Scoring, pcm: Pcm, shape: Shape, hop: int
    ) -> None:
        self._channel = channel
        self._embedder = embedder
        self._scoring = scoring
        self._pcm = pcm
        self._cutter = WindowCutter(shape.window, hop, shape.padding)
        self._shape = shape
        self._hop = hop
        self._waiting: deque[Due] = deque()
        self._changed = asyncio.Condition()
        self._ended = False
        self._dropped = 0
        self._events = EventFinder(scoring.thresholds, shape.window / shape.rate, hop / shape.rate)
        self._last_end_s = 0.0

    async def run(self) -> None:
        """Serve the stream to its end. Raises Problem, and what the channel raises."""
        answering = asyncio.create_task(self._answer_all())
        reading = asyncio.create_task(self._read_all())
        try:
            done, _ = await asyncio.wait((reading, answering), return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in (reading, answering):
                task.cancel()
            await asyncio.gather(reading, answering, return_exceptions=True)

    # Audio in

    async def _read_all(self) -> None:
        began = None
        try:
            while (data := await self._channel.receive()) is not None:
                arrived = time.monotonic()
                began = began or arrived
                samples = await off_loop(len(data) <= BRIEF_BYTES, self._pcm.samples, data)
                for window in self._cutter.cut(samples):
                    live_at = began + window.end / self._shape.rate - AHEAD_S
                    await self._enqueue(Due(window, arrived), live_at)
            rest = self._pcm.end()
        except AudioError as error:
            raise invalid(f"audio: {error.detail}") from None
        for window in itertools.chain(self._cutter.cut(rest), self._cutter.finish()):
            await self._enqueue(Due(window, time.monotonic()), math.inf)
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def _enqueue(self, due: Due, live_at: float) -> None:
        """Queue a window. Before `live_at`, the client is ahead of time and can wait for room."""
        async with self._changed:
            if len(self._waiting) >= WAITING_WINDOWS and (ahead_s := live_at - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if math.isinf(ahead_s) else ahead_s):
                        await self._changed.wait_for(lambda: len(self._waiting) < WAITING_WINDOWS)
            if len(self._waiting) >= WAITING_WINDOWS:
                self._waiting.popleft()
                self._drop()
            self._waiting.append(due)
            self._changed.notify_all()

    def _drop(self) -> None:
        self._dropped += 1
        STREAM_DROPPED.inc()

    # Scores out

    async def _answer_all(self) -> None:
        while (due := await self._take()) is not None:
            try:
                vectors = await self._embed(due.window)
            except ModelReplaced:
                raise Problem(Code.NOT_READY, "The model was replaced; open the stream again.", 1.0) from None
            except EmbeddingError as error:
                log.debug("a window was dropped: %s", error)
                self._drop()
                await self._tell_dropped()
                continue
            await self._tell_dropped()
            await self._answer(due, vectors)
        await self._tell_dropped()
        await self._send_events(self._events.finish(self._cutter.received / self._shape.rate))

    async def _take(self) -> Due | None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._ended)
            due = self._waiting.popleft() if self._waiting else None
            self._changed.notify_all()
            return due

    async def _embed(self, window: StreamWindow) -> Any:
        embedded = await self._embedder.embed_audio(
            window.samples[np.newaxis],
            deadline=time.monotonic() + LONGEST_WAIT_S,
            fingerprint=self._scoring.fingerprint,
        )
        return rounded(embedded.vectors)

    async def _answer(self, due: Due, vectors: Any) -> None:
        scoring, rate = self._scoring, self._shape.rate
        start_s, end_s = due.window.start / rate, due.window.end / rate
        message, sigmoid = await off_loop(len(scoring.names) <= BRIEF_LABELS, self._score, vectors, start_s, end_s)
        await self._channel.send(message)
        STREAM_LAG.observe(time.monotonic() - due.arrived)
        if scoring.fields.events:
            events: list[Event] = []
            if start_s > self._last_end_s:  # windows between were dropped
                events += self._events.break_off(self._last_end_s)
            events += self._events.feed([start_s], sigmoid)
            await self._send_events(events)
        self._last_end_s = end_s

    def _score(self, vectors: Any, start_s: float, end_s: float) -> tuple[bytes, Any]:
        """The message with a window's scores, and its sigmoid scores [1, labels] where events are asked for."""
        scoring, fields = self._scoring, self._scoring.fields
        scores = scoring.labels.score(vectors, scoring.scale, fields.activation, fields.none_of_these)
        message: dict[str, Any] = {
            "type": "scores",
            "start_s": round(start_s, 6),
            "end_s": round(end_s, 6),
            "scores": rows(scoring.names, scores, 0, fields.top_k),
        }
        if scores.none_of_these is not None:
            message["none_of_these"] = float(scores.none_of_these[0])
        sigmoid = scoring.labels.score(vectors, scoring.scale, "sigmoid").score if fields.events else None
        return msgspec.json.encode(message), sigmoid

    async def _send_events(self, events: Iterable[Event]) -> None:
        for event in events:
            name = self._scoring.names[event.label]
            row = EventRow(name, round(event.start_s, 6), round(event.end_s, 6), event.score)
            await self._channel.send(msgspec.json.encode({"type": "event", **msgspec.structs.asdict(row)}))

    async def _tell_dropped(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            await self._channel.send(msgspec.json.encode({"type": "dropped", "windows": dropped}))
