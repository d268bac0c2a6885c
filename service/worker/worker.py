"""The worker process: one device, one model, one queue. `python -m service.worker.worker --help`.

The main thread talks to the API processes and keeps the queue; compute threads take batches and run the model, so
that the device never waits for a socket. There are as many as the engine has streams: on a GPU two, of which one copies
while the other computes, on a CPU one for each core.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import numpy as np
import zmq

from model.memory import keep_freed_memory
from service import lifeline
from service.cores import yield_to_others
from service.ipc.embedding import ModelInfo, Priority, Vectors
from service.ipc.stats import WorkerStats
from service.ipc.transport import (
    Audio,
    Beat,
    Buffer,
    Cancel,
    Done,
    Failed,
    Hello,
    Info,
    Malformed,
    Message,
    Release,
    Reserve,
    Reserved,
    Text,
    array_buffer,
    buffer_array,
    decode,
    encode,
    listen,
    model_to_json,
)
from service.observe import logs
from service.observe.logs import of_request
from service.worker.batching import Batch, BatchQueue, Kind, Limits, Refused, Request
from service.worker.isolation import DeviceFault, Outcome, embed_each
from service.worker.queue_rate import DrainModel

log = logging.getLogger("anysound.worker")

BEAT_S = 0.5
SILENCE_S = 30.0
"""An API process that has said nothing for this long is gone, and its work with it."""
HANG_S = 120.0
"""A batch that runs for this long never ends: the worker does."""
CHARACTERS_A_TOKEN = 3
WARM_UP_BATCHES = (1, 2, 4)

EX_DEVICE = 71


class Model(Protocol):
    """What a worker needs of an engine."""

    dim: int
    window_samples: int
    info: ModelInfo

    def embed_audio(self, windows: Sequence[Vectors]) -> Vectors: ...

    def embed_text(self, prompts: Sequence[str]) -> Vectors: ...


@dataclass(slots=True)
class Job:
    """A request's items and the embeddings that are done so far."""

    client: bytes
    id: int
    items: Vectors | list[str]
    vectors: Vectors
    left: int
    request_id: str


@dataclass(slots=True)
class Finished:
    """A batch that left the device, or the requests that expired before they got there."""

    batch: Batch
    outcome: Outcome | None = None
    started: float = 0.0
    ended: float = 0.0


@dataclass
class Peers:
    """The API processes that were heard lately."""

    heard: dict[bytes, float] = field(default_factory=dict)

    def silent(self, now: float) -> list[bytes]:
        gone = [client for client, at in self.heard.items() if now - at > SILENCE_S]
        for client in gone:
            del self.heard[client]
        return gone


def warm_up(model: Model, drains: dict[Kind, DrainModel], window_s: float) -> None:
    """Run each encoder, so that no request pays for lazy set-up, and learn how long batches take."""
    silence = np.zeros((max(WARM_UP_BATCHES), model.window_samples), np.float32)
    prompts = ["this is a sound of a dog"] * max(WARM_UP_BATCHES)
    for size in WARM_UP_BATCHES:
        drains[Kind.AUDIO].observe(size * window_s, best_s(model.embed_audio, list(silence[:size])))
        drains[Kind.TEXT].observe(size * token_cost(prompts[0], 100), best_s(model.embed_text, prompts[:size]))


def best_s(embed: Callable[[Any], Vectors], items: Sequence[Any]) -> float:
    """Seconds that a batch takes: the better of two runs, the first of which may pay for set-up."""
    durations = []
    for _ in range(2):
        started = time.monotonic()
        embed(items)
        durations.append(time.monotonic() - started)
    return min(durations)


def token_cost(prompt: str, max_tokens: int) -> float:
    """About how many tokens a prompt has; the batch's bound needs no more."""
    return float(min(max_tokens, 2 + len(prompt) / CHARACTERS_A_TOKEN))


class Worker:
    """Serves a model on an endpoint until the supervisor is gone."""

    def __init__(
        self,
        model: Model,
        endpoint: str,
        limits: Limits,
        *,
        in_flight: int = 1,
        stats_file: Path | None = None,
        restarts: int = 0,
        startup_s: float = 0.0,
    ) -> None:
        self.model = model
        self.endpoint = endpoint
        self.in_flight = in_flight
        self.stats_file = stats_file
        self.stats = WorkerStats() if stats_file is None else WorkerStats.restore(stats_file)
        self.stats.restarts = restarts
        self.startup_s = startup_s
        front_end = model.info.config.front_end
        self.window_s = front_end.window_s
        self.max_tokens = model.info.config.text_encoder.max_tokens
        self.max_payload_bytes = int(limits.queue_seconds * front_end.sample_rate * 4) + model.window_samples * 4
        self.queue = BatchQueue(limits)
        self._work = threading.Condition()
        self._jobs: dict[tuple[bytes, int], Job] = {}
        self._peers = Peers()
        self._done: SimpleQueue[Finished] = SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._running: dict[int, float] = {}
        self._ended = False
        self._socket: zmq.Socket[bytes]

    # The compute threads

    def _compute(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                self._run(batch)
        except DeviceFault as fault:
            log.critical("the device failed: %s", fault)
            os._exit(EX_DEVICE)
        except BaseException:  # noqa: BLE001 - a worker whose compute thread is gone must not look alive
            traceback.print_exc()
            os._exit(os.EX_SOFTWARE)

    def _next_batch(self) -> Batch | None:
        """Waits for work; None when the worker ends."""
        with self._work:
            while not self._ended:
                now = time.monotonic()
                batch = self.queue.take(now)
                if batch.items:
                    self.queue.started(batch, now)
                    self._running[id(batch)] = now
                    return batch
                if batch.expired:
                    self._report(Finished(batch))
                self._work.wait()
        return None

    def _run(self, batch: Batch) -> None:
        started = time.monotonic()
        items = [item.request.payload.items[item.index] for item in batch.items]
        embed: Any = self.model.embed_audio if batch.kind is Kind.AUDIO else self.model.embed_text
        outcome = embed_each(embed, items, self.model.dim)
        with self._work:
            ended = time.monotonic()
            self.queue.finished(batch, ended)
            del self._running[id(batch)]
            if outcome.fits is not None and batch.kind is Kind.AUDIO:
                self.queue.limits = replace(self.queue.limits, batch_windows=outcome.fits)
                log.warning("out of memory: batches are now at most %d windows", outcome.fits)
        self._report(Finished(batch, outcome, started, ended))

    def _report(self, finished: Finished) -> None:
        self._done.put(finished)
        os.eventfd_write(self._wake, 1)

    # The main thread

    def serve(self, heartbeat: socket.socket | None = None) -> None:
        """Answer until the supervisor closes the heartbeat socket; send a byte at every beat."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = listen(context, self.endpoint, self.max_payload_bytes)
        for number in range(self.in_flight):
            threading.Thread(target=self._compute, name=f"compute-{number}", daemon=True).start()
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        if heartbeat is not None:
            poller.register(heartbeat, zmq.POLLIN)
        next_beat = 0.0
        while True:
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + BEAT_S
                self._beat(heartbeat)
            ready = dict(poller.poll(max(0, round((next_beat - time.monotonic()) * 1000))))
            if heartbeat is not None and heartbeat.fileno() in ready:
                break
            if self._wake in ready:
                os.eventfd_read(self._wake)
                self._answer_all()
            if self._socket in ready:
                self._receive_all()
        with self._work:
            self._ended = True
            self._work.notify_all()
        self._socket.close()
        context.term()

    def _receive_all(self) -> None:
        for _ in range(64):  # then finished batches get their turn
            try:
                client, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            try:
                message, payload = decode(frames)
                self._receive(client.bytes, message, payload)
            except (ValueError, TypeError) as error:
                log.warning("ignored a message: %s", error)

    def _receive(self, client: bytes, message: Message, payload: memoryview) -> None:
        now = time.monotonic()
        if client not in self._peers.heard:
            self._send(client, Info(model_to_json(self.model.info), self.max_payload_bytes, self.startup_s))
        self._peers.heard[client] = now
        match message:
            case Hello():
                pass
            case Reserve():
                self._reserve(client, message, now)
            case Release(id=number):
                with self._work:
                    self.queue.release((client, number))
            case Audio() | Text():
                self._admit(client, message, payload, now)
            case Cancel(id=number):
                self._cancel((client, number))
            case _:
                raise Malformed(f"{type(message).__name__} is not for a worker")

    def _reserve(self, client: bytes, message: Reserve, now: float) -> None:
        seconds = message.windows * self.window_s
        try:
            with self._work:
                self.queue.reserve((client, message.id), seconds, Priority(message.priority), message.deadline, now)
        except Refused as refused:
            self._refuse(client, message.id, refused)
        else:
            self._send(client, Reserved(message.id))

    def _admit(self, client: bytes, message: Audio | Text, payload: memoryview, now: float) -> None:
        items: Vectors | list[str]
        costs: list[float]
        if isinstance(message, Audio):
            items = buffer_array(payload, message.rows)
            if items.shape[1] != self.model.window_samples:
                raise Malformed(f"windows of {items.shape[1]} samples, not {self.model.window_samples}")
            kind, costs = Kind.AUDIO, [self.window_s] * len(items)
            reservation = None if message.reservation is None else (client, message.reservation)
        else:
            items = json.loads(bytes(payload))
            kind, costs = Kind.TEXT, [token_cost(prompt, self.max_tokens) for prompt in items]
            reservation = None
        key = (client, message.id)
        vectors = np.zeros((len(items), self.model.dim), np.float32)
        job = Job(client, message.id, items, vectors, len(items), message.request_id)
        request = Request(
            key, kind, Priority(message.priority), costs, message.deadline, now, job, reservation=reservation
        )
        try:
            with self._work:
                self.queue.admit(request, now)
                self._jobs[key] = job
                self._work.notify()
        except Refused as refused:
            self._refuse(client, message.id, refused)

    def _refuse(self, client: bytes, number: int, refused: Refused) -> None:
        self.stats.refused += 1
        self._send(client, Failed(number, "overloaded", str(refused), refused.retry_after_s))

    def _cancel(self, key: tuple[bytes, int]) -> None:
        if self._jobs.pop(key, None) is not None:
            self.stats.cancelled += 1
            with self._work:
                self.queue.cancel(key)

    def _answer_all(self) -> None:
        while True:
            try:
                finished = self._done.get_nowait()
            except Empty:
                return
            self._expire(finished.batch.expired)
            if finished.outcome is not None:
                self._answer(finished.batch, finished.outcome, finished.started, finished.ended)

    def _answer(self, batch: Batch, outcome: Outcome, started: float, ended: float) -> None:
        kind = batch.kind.value
        self.stats.batch_size[kind].observe(len(batch.items))
        self.stats.batch_duration_s[kind].observe(ended - started)
        self.stats.audio_seconds += batch.cost if batch.kind is Kind.AUDIO else 0.0
        self.stats.out_of_memory += outcome.fits is not None
        for row, item in enumerate(batch.items):
            job: Job = item.request.payload
            if (job.client, job.id) not in self._jobs:
                continue
            if (reason := outcome.failed.get(row)) is not None:
                with of_request(job.request_id):
                    log.warning("an item was rejected: %s", reason)
                self.stats.rejected_items += 1
                self._fail(item.request, "rejected_item", "the model cannot embed this item")
                continue
            job.vectors[item.index] = outcome.vectors[row]
            job.left -= 1
            if job.left == 0:
                del self._jobs[job.client, job.id]
                done = Done(job.id, len(job.vectors), started - item.request.arrived, ended - started)
                self._send(job.client, done, array_buffer(job.vectors))

    def _expire(self, requests: Sequence[Request]) -> None:
        for request in requests:
            if request.id in self._jobs:
                self.stats.expired += 1
                self._fail(request, "deadline_exceeded", "the deadline passed in the queue")

    def _fail(self, request: Request, error: str, detail: str) -> None:
        with self._work:
            self.queue.cancel(request.id)
        job = self._jobs.pop((request.payload.client, request.payload.id))
        self._send(job.client, Failed(job.id, error, detail))

    def _send(self, client: bytes, message: Message, payload: Buffer = b"") -> None:
        with contextlib.suppress(zmq.Again):  # a client that does not read loses its answers, never others'
            self._socket.send_multipart([client, *encode(message, payload)], zmq.NOBLOCK, copy=len(payload) < 1 << 16)

    def _beat(self, heartbeat: socket.socket | None) -> None:
        now = time.monotonic()
        with self._work:
            expired = self.queue.expire(now)
            self.stats.queue_seconds = self.queue.waiting(Kind.AUDIO)
            self.stats.busy_s = max((now - started for started in self._running.values()), default=0.0)
        self._expire(expired)
        if self.stats.busy_s > HANG_S:
            log.critical("a batch has been running for %.0f s", self.stats.busy_s)
            os._exit(EX_DEVICE)
        for client in self._peers.silent(now):
            for key in [key for key in self._jobs if key[0] == client]:
                self._cancel(key)
        beat = Beat(self.stats.to_json())
        for client in self._peers.heard:
            self._send(client, beat)
        if self.stats_file is not None:
            self.stats.save(self.stats_file)
        if heartbeat is not None:
            lifeline.beat(heartbeat)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="anysound-worker", description="Own a model; embed what API processes send.")
    parser.add_argument("--model", type=Path, help="checkpoint directory; the bundled one if absent")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--endpoint", required=True, help="ipc:// address to listen on")
    parser.add_argument("--max-batch-seconds", type=float, default=Limits.batch_seconds)
    parser.add_argument("--max-queue-seconds", type=float, default=Limits.queue_seconds)
    parser.add_argument("--stats-file", type=Path)
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("--lifeline", type=int, help="descriptor of the heartbeat socket; the worker ends with it")
    options = parser.parse_args(arguments)

    keep_freed_memory()
    yield_to_others()
    began = time.monotonic()
    heartbeat = None if options.lifeline is None else lifeline.attach(options.lifeline)
    from model.checkpoint import DEFAULT, CheckpointError
    from service.worker.engine import Engine

    try:
        engine = Engine(options.model or DEFAULT, options.device, options.dtype)
    except CheckpointError as error:
        log.critical("%s", error)
        return os.EX_CONFIG
    limits = Limits(
        batch_seconds=min(options.max_batch_seconds, engine.batch_windows * engine.info.config.front_end.window_s),
        batch_windows=engine.batch_windows,
        queue_seconds=options.max_queue_seconds,
    )
    worker = Worker(
        engine,
        options.endpoint,
        limits,
        in_flight=engine.streams,
        stats_file=options.stats_file,
        restarts=options.restarts,
    )
    warm_up(engine, worker.queue.drains, worker.window_s)
    worker.startup_s = time.monotonic() - began
    log.info("%s is ready on %s after %.1f s", engine.info.config.name, engine.device, worker.startup_s)
    worker.serve(heartbeat)
    return 0


if __name__ == "__main__":
    logs.configure(os.environ.get("ANYSOUND_LOG_FORMAT", "text"))
    sys.exit(main())
