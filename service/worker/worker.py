"""The worker: one device, one model, one queue. Its loop talks to API processes, its compute threads run batches."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zmq

from model.isolation import Outcome
from model.native import Recording
from service import lifeline
from service.ipc.embedding import Priority, Vectors
from service.ipc.stats import WorkerStats
from service.ipc.transport import (
    Audio,
    Buffer,
    Cancel,
    Done,
    Failed,
    Heartbeat,
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
    recording,
)
from service.observe.logs import of_request
from service.worker.batching import BatchQueue, Refused
from service.worker.compute import EITHER, EX_DEVICE, ComputeThreads, Finished, Model, token_cost
from service.worker.jobs import Job, JobTable, Key
from service.worker.requests import Batch, Kind, Request
from service.worker.wait_estimate import QueueLimits

log = logging.getLogger("anysound.worker")

HEARTBEAT_S = 0.5
SILENCE_S = 30.0
"""An API process that has sent nothing for this long is gone, and its work is dropped."""
HANG_S = 120.0
"""A batch that has run for this long is stuck, and the worker exits."""


@dataclass
class Clients:
    """The API processes: when each was last heard from, and those that have disconnected."""

    heard: dict[bytes, float] = field(default_factory=dict)
    gone: set[bytes] = field(default_factory=set)

    def remove_gone(self, now: float) -> set[bytes]:
        """Forget the clients that have disconnected or have been silent for too long, and return them."""
        gone = self.gone | {client for client, at in self.heard.items() if now - at > SILENCE_S}
        self.heard = {client: at for client, at in self.heard.items() if client not in gone}
        self.gone = set()
        return gone


class Worker:
    """Serves a model on an endpoint until the heartbeat socket is closed by its other end."""

    def __init__(
        self,
        model: Model,
        endpoint: str,
        limits: QueueLimits,
        *,
        threads: Sequence[Collection[Kind]] = (EITHER,),
        stats_file: Path | None = None,
        restarts: int = 0,
        startup_s: float = 0.0,
    ) -> None:
        self.model = model
        self.endpoint = endpoint
        self.stats_file = stats_file
        self.stats = WorkerStats() if stats_file is None else WorkerStats.restore(stats_file)
        self.stats.restarts = restarts
        self.startup_s = startup_s
        self.ready_since = 0.0
        self.window_s = model.info.config.front_end.window_s
        self.max_tokens = model.info.config.text_encoder.max_tokens
        self.queue = BatchQueue(limits)
        self.compute = ComputeThreads(model, self.queue, threads)
        self._jobs = JobTable()
        self._clients = Clients()
        self._stats_saved = True
        self._socket: zmq.Socket[bytes]

    def serve(self, heartbeat: socket.socket | None = None) -> None:
        """Answer until the other end of `heartbeat` is closed. One byte is written at every beat, first when ready."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = listen(context, self.endpoint, 4 * self.model.window_samples)
        self.ready_since = time.monotonic()
        self.compute.start()
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self.compute.wakeup, zmq.POLLIN)
        if heartbeat is not None:
            poller.register(heartbeat, zmq.POLLIN)
        next_beat = 0.0
        while True:
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + HEARTBEAT_S
                self._beat(heartbeat)
            ready = dict(poller.poll(max(0, round((next_beat - time.monotonic()) * 1000))))
            if heartbeat is not None and heartbeat.fileno() in ready:
                break
            if self.compute.wakeup in ready:
                for finished in self.compute.finished():
                    self._answer(finished)
            if self._socket in ready:
                self._receive_all()
        self.compute.stop()
        self._socket.close()
        context.term()

    # Messages from API processes

    def _receive_all(self) -> None:
        for _ in range(64):  # finished batches are answered next
            try:
                client, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            try:
                message, payload = decode(frames)
                self._receive(client.bytes, message, payload)
            except Malformed as error:
                log.warning("ignored a message: %s", error)

    def _receive(self, client: bytes, message: Message, payload: memoryview) -> None:
        now = time.monotonic()
        if client not in self._clients.heard:
            self._send(client, Info(model_to_json(self.model.info), self.ready_since, self.startup_s))
        self._clients.heard[client] = now
        match message:
            case Hello():
                pass
            case Reserve():
                self._reserve(client, message, now)
            case Release(id=number):
                with self.compute.lock:
                    self.queue.release((client, number))
            case Audio() | Text():
                try:
                    self._admit(client, message, payload, now)
                except (ValueError, TypeError) as error:
                    log.warning("rejected a message: %s", error)
                    self._send(client, Failed(message.id, "rejected_item", str(error)))
            case Cancel(id=number):
                self._cancel((client, number))
            case _:
                raise Malformed(f"{type(message).__name__} is not for a worker")

    def _reserve(self, client: bytes, message: Reserve, now: float) -> None:
        seconds = message.windows * self.window_s
        try:
            with self.compute.lock:
                self.queue.reserve((client, message.id), seconds, Priority(message.priority), message.deadline, now)
        except Refused as refused:
            self._refuse(client, message.id, refused)
        else:
            self._send(client, Reserved(message.id))

    def _admit(self, client: bytes, message: Audio | Text, payload: memoryview, now: float) -> None:
        items: Vectors | Recording | list[str]
        costs: list[float]
        if isinstance(message, Audio):
            if message.rate:
                items = recording(message, payload, self.model.info.config.front_end.sample_rate)
            else:
                items = buffer_array(payload, message.rows)
                if items.shape[1] != self.model.window_samples:
                    raise Malformed(f"windows of {items.shape[1]} samples, not {self.model.window_samples}")
            kind, costs = Kind.AUDIO, [self.window_s] * len(items)
        else:
            prompts: list[str] = json.loads(bytes(payload))
            items, kind, costs = prompts, Kind.TEXT, [token_cost(prompt, self.max_tokens) for prompt in prompts]
        vectors = np.zeros((len(items), self.model.dim), np.float32)
        job = Job(client, message.id, items, vectors, len(items), message.request_id)
        group = (client, message.group)
        request = Request(job.key, group, kind, Priority(message.priority), costs, message.deadline, now, job)
        try:
            with self.compute.lock:
                self.queue.admit(request, now)
                self._jobs.open(job)
                self.compute.lock.notify_all()
        except Refused as refused:
            self._refuse(client, message.id, refused)

    def _refuse(self, client: bytes, number: int, refused: Refused) -> None:
        self.stats.refused += 1
        self._send(client, Failed(number, "overloaded", str(refused), refused.retry_after_s))

    def _cancel(self, key: Key) -> None:
        if self._jobs.close(key) is not None:
            self.stats.cancelled += 1
            with self.compute.lock:
                self.queue.cancel(key)

    # Messages to API processes

    def _answer(self, finished: Finished) -> None:
        self._expire(finished.batch.expired)
        if finished.outcome is None:
            return
        self._count(finished, finished.outcome)
        for row, item in enumerate(finished.batch.items):
            job: Job = item.request.payload
            if job.key not in self._jobs:
                continue
            if (reason := finished.outcome.failed.get(row)) is not None:
                with of_request(job.request_id):
                    log.warning("an item was rejected: %s", reason)
                self.stats.rejected_items += 1
                self._fail(item.request, "rejected_item", "the model cannot embed this item")
            elif job.put(item.index, finished.outcome.vectors[row]):
                self._jobs.close(job.key)
                queue_s, compute_s = finished.started - item.request.arrived, finished.ended - finished.started
                done = Done(job.id, len(job.vectors), queue_s, compute_s)
                self._send(job.client, done, array_buffer(job.vectors))

    def _count(self, finished: Finished, outcome: Outcome) -> None:
        batch: Batch = finished.batch
        self.stats.batch_size[batch.kind.value].observe(len(batch.items))
        self.stats.batch_duration_s[batch.kind.value].observe(finished.ended - finished.started)
        self.stats.audio_seconds += batch.cost if batch.kind is Kind.AUDIO else 0.0
        self.stats.out_of_memory += outcome.fits is not None

    def _expire(self, requests: Sequence[Request]) -> None:
        for request in requests:
            if request.payload.key in self._jobs:
                self.stats.expired += 1
                self._fail(request, "deadline_exceeded", "the deadline passed in the queue")

    def _fail(self, request: Request, error: str, detail: str) -> None:
        with self.compute.lock:
            self.queue.cancel(request.id)
        job: Job = request.payload
        self._jobs.close(job.key)
        self._send(job.client, Failed(job.id, error, detail))

    def _send(self, client: bytes, message: Message, payload: Buffer = b"") -> None:
        try:
            self._socket.send_multipart([client, *encode(message, payload)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._clients.gone.add(client)

    def _beat(self, heartbeat: socket.socket | None) -> None:
        now = time.monotonic()
        with self.compute.lock:
            expired = self.queue.expire(now)
            self.stats.queue_seconds = self.queue.waiting(Kind.AUDIO)
            self.stats.busy_s = self.queue.estimate.busy_s(now)
        self._expire(expired)
        if self.stats.busy_s > HANG_S:
            log.critical("a batch has been running for %.0f s", self.stats.busy_s)
            os._exit(EX_DEVICE)
        for client in self._clients.heard:
            self._send(client, Heartbeat(self.stats.to_json()))
        for client in self._clients.remove_gone(now):
            for key in self._jobs.of(client):
                self._cancel(key)
        self._save_stats()
        if heartbeat is not None:
            lifeline.beat(heartbeat)

    def _save_stats(self) -> None:
        if self.stats_file is None:
            return
        try:
            self.stats.save(self.stats_file)
        except OSError as error:
            if self._stats_saved:
                log.error("cannot save the counters, a restart will lose them: %s", error)
            self._stats_saved = False
        else:
            self._stats_saved = True
