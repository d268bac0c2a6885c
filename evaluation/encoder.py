"""The audio encoder, with the precision and the batch size that suit the device."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from model.checkpoint import Checkpoint
from model.devices import find_device
from model.folding import prepare
from model.prompts import Embeddings
from model.windows import Samples

Precision = Literal["fp32", "bf16"]

TOLERANCE = 5e-3
"""bf16 is used if no value of a unit-length embedding differs by more; the service has the same limit."""


LANES = 4
"""Maximum number of batches at once. On a CPU they share the compute threads evenly; a GPU runs one at a time."""


@dataclass
class BatchSize:
    """A batch size that doubles while larger batches are faster and halves when memory runs out. Thread-safe."""

    size: int = 8
    limit: int = 256
    settled: bool = False
    rates: dict[int, list[float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def took(self, windows: int, seconds: float) -> None:
        """Record the time of a batch of `windows`; after two of the current size, choose the next size."""
        with self.lock:
            self._learn(windows, seconds)

    def _learn(self, windows: int, seconds: float) -> None:
        if self.settled or windows != self.size:
            return
        here = self.rates.setdefault(self.size, [])
        here.append(windows / max(seconds, 1e-9))
        if len(here) < 2:
            return
        before = self.rates.get(self.size // 2)
        if before and max(here) < 1.05 * max(before):
            self.size //= 2
            self.settled = True
        elif self.size >= self.limit:
            self.settled = True
        else:
            self.size *= 2

    def exhausted(self) -> None:
        """Report that memory ran out at the current size."""
        self.size = max(1, self.size // 2)
        self.settled = True


class Encoder:
    """Windows [n, samples] -> L2-normalised embeddings [n, joint_dim] and the encoder's features [n, features].

    Features are the audio encoder's output before the projection; probes are trained on them.
    """

    def __init__(self, checkpoint: Checkpoint, device: str | None = None, precision: Precision | None = None) -> None:
        self.checkpoint = checkpoint
        self.device = find_device(device)
        checkpoint.model.to(self.device)
        self.network = copy.deepcopy(checkpoint.model.audio_encoder)
        prepare(self.network, torch.float32)
        on_cpu = self.device.type == "cpu"
        self.lanes = min(torch.get_num_threads(), LANES)
        self.turn: AbstractContextManager[object] = nullcontext() if on_cpu else threading.Lock()
        # Together the lanes hold as much as one batch of 32.
        self.batch = BatchSize(limit=32 // self.lanes if on_cpu else 256)
        self.precision: Precision = "fp32"
        self.precision = precision or self.verified()

    def verified(self) -> Precision:
        """bf16 on a GPU that supports it, if its embeddings agree with those of fp32."""
        if self.device.type != "cuda" or not torch.cuda.is_bf16_supported():
            return "fp32"
        rng = np.random.default_rng(0)
        window = self.checkpoint.config.front_end.window_samples
        noise = (rng.standard_normal((8, window)) * rng.uniform(0.01, 0.3, (8, 1))).astype(np.float32)
        whole, _ = self.forward(noise, "fp32")
        half, _ = self.forward(noise, "bf16")
        return "bf16" if float(np.abs(whole - half).max()) <= TOLERANCE else "fp32"

    @contextmanager
    def running(self) -> Iterator[Executor]:
        """Threads that read clips and call the encoder, each with a batch of its own.

        On a CPU a batch per core is faster than all cores on one batch, whose threads wait for each other some fifty
        times per window.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, threads // self.lanes))  # applies to threads that are started after it
        try:
            with ThreadPoolExecutor(self.lanes, "encode") as pool:
                yield pool
        finally:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def forward(self, windows: Samples, precision: Precision) -> tuple[Embeddings, Embeddings]:
        bf16 = precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            features = self.network.base(torch.from_numpy(windows).to(self.device))
            joint = self.network.projection(features)
        return F.normalize(joint.float(), dim=-1).cpu().numpy(), features.float().cpu().numpy()

    def __call__(self, windows: Samples) -> tuple[Embeddings, Embeddings]:
        """Encode all of `windows`, as many at a time as memory allows."""
        joint, features = [], []
        start = 0
        while start < len(windows):
            part = windows[start : start + self.batch.size]
            with self.turn:
                began = time.perf_counter()
                try:
                    vectors = self.forward(part, self.precision)
                except torch.cuda.OutOfMemoryError:
                    if len(part) == 1:
                        raise
                    self.batch.exhausted()
                    continue
                self.batch.took(len(part), time.perf_counter() - began)
            joint.append(vectors[0])
            features.append(vectors[1])
            start += len(part)
        return np.concatenate(joint), np.concatenate(features)
