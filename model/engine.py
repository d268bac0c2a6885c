"""The engine: runs the model on one device, for the worker and for bulk runs."""

from __future__ import annotations

import copy
import gc
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from model import parity
from model.checkpoint import Checkpoint, load
from model.cores import cores
from model.folding import prepare
from model.info import ModelInfo
from model.isolation import DeviceFault, OutOfMemory
from model.native import Excerpt
from model.prompts import Embeddings, fill
from model.resampling import Resampler
from model.windows import Samples

Dtype = Literal["float32", "bfloat16"]
"""Precision of the audio encoder. Prompts are always embedded in float32."""

CPU_BATCH = range(8, 17)
"""Bounds of the windows per batch on a CPU: larger batches exceed its caches and are not faster (docs/performance.md).
Between the bounds, a batch has as many windows as take one second one by one, since more urgent work has to wait for
the running batch."""
CPU_MIXED_BATCH = 4
"""Windows on a CPU up to which a batch with interactive ones is filled: the first few save the most time per window
(docs/performance.md), and the interactive ones wait for all of them."""
GPU_BATCH = 64
GPU_STREAMS = 2
"""Batches at the same time on a GPU: one is copied while the other is computed."""

RESAMPLERS = 16
"""Sample rates whose filters are kept."""

TRIALS = 5

log = logging.getLogger("anysound.engine")


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device computes faster in bfloat16 than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class Engine:
    """A checkpoint on a device. An item gets the same embedding alone and in any batch (float32: to 1e-5).

    With `auto`, the audio encoder computes in bfloat16 if the device does so faster and no score of the probe changes
    by more than `parity.ALLOWED`; otherwise in float32.

    Up to `streams` threads may embed at the same time. On a CPU there is one stream per core, each batch on a core of
    its own, because the threads of one batch would wait for each other after every layer. A batch that runs alone uses
    the number of threads that was measured to be faster at the start.
    """

    def __init__(self, folder: Path, device: str = "cpu", dtype: Dtype | Literal["auto"] = "auto") -> None:
        self.device = torch.device(device)
        self.streams = GPU_STREAMS if self.device.type == "cuda" else cores()
        self._threads_alone = cores()
        self._running = 0
        self._lock = threading.Lock()
        if self.device.type == "cuda":
            # cuDNN rounds float32 to TF32 by default, which changes embeddings by 1e-3.
            torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        checkpoint = load(folder, self.device)
        self.dim = checkpoint.config.joint_dim
        self.window_samples = checkpoint.config.front_end.window_samples
        self.batch_windows = GPU_BATCH if self.device.type == "cuda" else CPU_BATCH[0]
        self.mixed_windows = GPU_BATCH if self.device.type == "cuda" else CPU_MIXED_BATCH
        self._tokenizer = checkpoint.tokenizer
        self._clap = checkpoint.model
        sample_rate = checkpoint.config.front_end.sample_rate

        @lru_cache(RESAMPLERS)
        def resampler(rate: int) -> Resampler:
            return Resampler(rate, sample_rate, self.window_samples, self.device)

        self._resampler = resampler
        self.dtype: Dtype = "float32"
        if dtype == "auto":
            self._lower_if_equal(checkpoint)
        else:
            self._lower(dtype)
        if self.device.type == "cpu":
            self._measure()
        self.info = ModelInfo(
            checkpoint.config, checkpoint.fingerprint, checkpoint.logit_scale, str(self.device), self.dtype
        )

    def _measure(self) -> None:
        """Measure how many threads a batch that runs alone gets, and how many windows a batch has.

        All cores are used if they save a fifth of the time of a single window; layers of small models are too short to
        gain from a second thread.
        """
        window = [np.zeros(self.window_samples, np.float32)]

        def best_s(threads: int) -> float:
            self._threads_alone = threads
            durations = []
            for _ in range(TRIALS):
                began = time.perf_counter()
                self.embed_audio(window)
                durations.append(time.perf_counter() - began)
            return min(durations)

        several, one = best_s(cores()), best_s(1)
        self._threads_alone = cores() if several < 0.8 * one else 1
        self.batch_windows = min(max(CPU_BATCH[0], int(1 / one)), CPU_BATCH[-1])

    def _lower(self, dtype: Dtype) -> None:
        prepare(self._clap.audio_encoder, getattr(torch, dtype))
        self.dtype = dtype

    def _lower_if_equal(self, checkpoint: Checkpoint) -> None:
        """Use bfloat16 if the scores stay the same, float32 if they do not."""
        self._lower("float32")
        if not fast_bfloat16(self.device):
            return
        exact = self._clap.audio_encoder
        self._clap.audio_encoder = copy.deepcopy(exact)
        prompts = checkpoint.config.prompts
        named = self.embed_text([fill(prompts.template, name) for name in parity.NAMES])
        background = self.embed_text(prompts.background)
        windows = list(parity.probe(self.window_samples, checkpoint.config.front_end.sample_rate))
        reference = self._embed_in_batches(windows)
        self._lower("bfloat16")
        lowered = self._embed_in_batches(windows)
        change = parity.largest_change(reference, lowered, named, background, checkpoint.logit_scale)
        if not change <= parity.ALLOWED:  # also true for NaN
            self._clap.audio_encoder, self.dtype = exact, "float32"
        log.info("bfloat16 changes scores by up to %.1e: computing in %s", change, self.dtype)

    def _embed_in_batches(self, windows: Sequence[Embeddings]) -> Embeddings:
        step = self.batch_windows
        return np.concatenate([self.embed_audio(windows[at : at + step]) for at in range(0, len(windows), step)])

    def embed_audio(self, windows: Sequence[Samples | Excerpt]) -> Embeddings:
        """b windows, each float32 [window_samples] or an excerpt -> L2-normalised embeddings float32 [b, d].

        Raises OutOfMemory, DeviceFault, or any other exception of the forward pass.
        """
        with self._run(bf16=self.dtype == "bfloat16"):
            return _numpy(self._clap.embed_audio(self._batch(windows)))

    def _batch(self, windows: Sequence[Samples | Excerpt]) -> Tensor:
        """One tensor [b, window_samples] on the device. Excerpts of one rate are resampled together."""
        arrays = {row: window for row, window in enumerate(windows) if not isinstance(window, Excerpt)}
        if len(arrays) == len(windows):
            # Copied, since the rows may be read-only
            return torch.from_numpy(np.stack(list(arrays.values()))).to(self.device)
        batch = torch.empty(len(windows), self.window_samples, device=self.device)
        if arrays:
            batch[list(arrays)] = torch.from_numpy(np.stack(list(arrays.values()))).to(self.device)
        by_rate: dict[int, dict[int, Excerpt]] = {}
        for row, window in enumerate(windows):
            if isinstance(window, Excerpt):
                by_rate.setdefault(window.recording.rate, {})[row] = window
        for rate, excerpts in by_rate.items():
            self._resampler(rate).fill(batch, excerpts, self.info.config.front_end.padding)
        return batch

    def embed_text(self, prompts: Sequence[str]) -> Embeddings:
        """b prompts -> L2-normalised embeddings float32 [b, d], always computed in float32. Raises as `embed_audio`."""
        with self._run(bf16=False):
            tokens = {name: ids.to(self.device) for name, ids in self._tokenizer(prompts).items()}
            return _numpy(self._clap.embed_text(tokens))

    @contextmanager
    def _run(self, *, bf16: bool) -> Iterator[None]:
        with self._lock:
            self._running += 1
            alone = self._running == 1
        if self.device.type == "cpu":
            torch.set_num_threads(self._threads_alone if alone else 1)  # applies to the calling thread only
        try:
            with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                yield
        except torch.OutOfMemoryError as error:
            self._free()
            raise OutOfMemory(str(error)) from None
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
                self._free()
                raise OutOfMemory(str(error)) from None
            if self.device.type == "cuda" and _faulted(error):
                raise DeviceFault(str(error)) from error
            raise
        finally:
            with self._lock:
                self._running -= 1

    def _free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _numpy(embeddings: Tensor) -> Embeddings:
    vectors: Embeddings = embeddings.float().cpu().numpy()
    return vectors


def _faulted(error: Exception) -> bool:
    """Whether the CUDA context is lost: every later call then fails with the same error."""
    return "CUDA error" in str(error) or "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED" in str(error)
