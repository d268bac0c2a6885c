"""A model without weights, whose embeddings can be told apart, which fails when told to; and a worker that runs it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from model.config import ClapConfig, FrontEndConfig, TextEncoderConfig
from model.info import ModelInfo
from model.isolation import OutOfMemory
from model.native import Excerpt
from model.windows import Samples
from service.ipc.embedding import Vectors
from service.worker.requests import Kind
from service.worker.wait_estimate import QueueLimits
from service.worker.worker import Worker

CONFIG = ClapConfig(
    name="fake",
    front_end=FrontEndConfig(
        sample_rate=1_000, n_fft=64, window_length=64, mel_bins=8, f_max=500, window_s=1, window_hop_s=1
    ),
    text_encoder=TextEncoderConfig(architecture={"model_type": "bert"}),
    joint_dim=2,
)
SAMPLES = CONFIG.front_end.window_samples

LIMITS = QueueLimits(batch_seconds=8, batch_windows=8, queue_seconds=40)
"""Limits of the workers below."""

BAD = -1.0
NOT_FINITE = -2.0


def window(value: float) -> Vectors:
    """A window [samples] that the fake model embeds as [value, samples]."""
    return np.full(SAMPLES, value, np.float32)


def windows(*values: float) -> Vectors:
    return np.stack([window(value) for value in values])


class FakeModel:
    """Embeds a window as [its first sample, its length] and a prompt as [its length, 0].

    A window of `BAD` raises, one of `NOT_FINITE` gives NaN, and more than `room` items at once are out of memory.
    While `gate` is clear, batches of windows wait inside the model, and batches of prompts while `text_gate` is.
    """

    def __init__(self, room: int = 1_000, fingerprint: str = "f" * 64) -> None:
        self.dim = CONFIG.joint_dim
        self.window_samples = SAMPLES
        self.info = ModelInfo(CONFIG, fingerprint, 14.0, "cpu", "float32")
        self.room = room
        self.batches: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.text_gate = threading.Event()
        self.text_gate.set()
        self.entered = threading.Semaphore(0)

    def embed_audio(self, windows: Sequence[Samples | Excerpt]) -> Vectors:
        arrays = [each for each in windows if isinstance(each, np.ndarray)]
        values = [float(each[0]) for each in arrays]
        self.batches.append(values)
        self.entered.release()
        self.gate.wait()
        if len(values) > self.room:
            raise OutOfMemory(f"{len(values)} windows")
        if BAD in values:
            raise RuntimeError("the forward pass crashed")
        return np.array(
            [[np.nan if v == NOT_FINITE else v, len(w)] for v, w in zip(values, arrays, strict=True)], np.float32
        )

    def embed_text(self, prompts: Sequence[str]) -> Vectors:
        self.batches.append([float(len(prompt)) for prompt in prompts])
        self.entered.release()
        self.text_gate.wait()
        return np.array([[len(prompt), 0] for prompt in prompts], np.float32)


@contextmanager
def serving(
    model: FakeModel,
    address: str,
    *,
    stats_file: Path | None = None,
    threads: Sequence[Collection[Kind]] = (tuple(Kind),),
) -> Iterator[Worker]:
    """A worker in a thread of this process."""
    ours, its = socket.socketpair()
    its.setblocking(False)
    worker = Worker(model, address, LIMITS, stats_file=stats_file, threads=threads)
    thread = threading.Thread(target=worker.serve, args=(its,))
    thread.start()
    try:
        yield worker
    finally:
        model.gate.set()
        model.text_gate.set()
        ours.close()
        thread.join()
        its.close()


def soon(seconds: float = 5.0) -> float:
    """A deadline."""
    return time.monotonic() + seconds


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other threads and processes
            await asyncio.sleep(0.005)
