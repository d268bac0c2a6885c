"""An embedder without a worker: a window is embedded as its spectrum, a prompt as the spectrum of what it names."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import numpy as np

from model.audio import resample
from model.config import ClapConfig, ExampleScale, FrontEndConfig, PromptConfig, TextEncoderConfig
from model.info import ModelInfo
from model.native import Recording
from model.windows import pad
from service.ipc.embedding import (
    DeadlineExceeded,
    Embedded,
    EmbeddingError,
    Priority,
    Reservation,
    Vectors,
    WorkerUnavailable,
)
from service.ipc.stats import WorkerStats

RATE = 8_000
DIM = 32
TONES = {"low": 200.0, "middle": 1_000.0, "high": 3_000.0}

CONFIG = ClapConfig(
    name="spectral",
    front_end=FrontEndConfig(
        sample_rate=RATE, n_fft=256, window_length=256, mel_bins=32, f_max=4_000, window_s=1, window_hop_s=1
    ),
    text_encoder=TextEncoderConfig(architecture={"model_type": "bert"}),
    joint_dim=DIM,
    prompts=PromptConfig(template="the sound of {label}", background=("nothing at all", "something else")),
)


def tone(frequency: float, seconds: float = 1.0, rate: int = RATE) -> Vectors:
    """A sine [samples] at half of full scale."""
    time_s = np.arange(round(seconds * rate)) / rate
    wave: Vectors = (0.5 * np.sin(2 * np.pi * frequency * time_s)).astype(np.float32)
    return wave


def spectra(windows: Vectors) -> Vectors:
    """Windows [n, samples] -> L2-normalised energies in `DIM` bands [n, DIM]; silence is spread over all."""
    power = np.abs(np.fft.rfft(windows, axis=1))[:, 1:] ** 2
    bands = power[:, : power.shape[1] // DIM * DIM].reshape(len(windows), DIM, -1).sum(axis=2) + 1e-9
    normalised: Vectors = (bands / np.linalg.norm(bands, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def meaning(prompt: str) -> Vectors:
    """The embedding [DIM] of a prompt: that of the tone it names, else a direction of its own."""
    named = [frequency for word, frequency in TONES.items() if word in prompt]
    if named:
        [embedding] = spectra(tone(named[0])[np.newaxis])
        return np.asarray(embedding)
    direction = np.random.default_rng(zlib.crc32(prompt.encode())).normal(size=DIM)
    unit: Vectors = (direction / np.linalg.norm(direction)).astype(np.float32)
    return unit


def resampled(recording: Recording) -> Vectors:
    """The windows of a recording, as a worker makes them."""
    front_end = CONFIG.front_end
    floats = recording.samples.astype(np.float32) / np.float32(32_768)
    samples = resample(floats, recording.rate, front_end.sample_rate)
    if len(samples) <= front_end.window_samples:
        return pad(samples, front_end.window_samples, front_end.padding)[np.newaxis]
    return np.stack([samples[start : start + front_end.window_samples] for start in recording.starts])


class SpectralEmbedder:
    """Implements `Embedder`, counts what it was asked, and fails or waits when told to."""

    def __init__(self) -> None:
        self.ready = True
        self.alive = True
        self.odd_workers = 0
        self.stats = WorkerStats()
        self.prompts: list[str] = []
        self.windows = 0
        self.reserved = 0
        self.priorities: list[Priority] = []
        self.deadlines: list[float] = []
        self.audio_failure: EmbeddingError | None = None
        self.text_failure: EmbeddingError | None = None
        self.reservation_failure: EmbeddingError | None = None
        self.admission_failure: EmbeddingError | None = None
        self.audio_delay_s = 0.0
        self.text_delay_s = 0.0
        self.cancelled = 0
        self.scale: ExampleScale | None = None
        self.fingerprint = "ab" * 32

    async def __aenter__(self) -> SpectralEmbedder:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @property
    def info(self) -> ModelInfo:
        if not self.ready:
            raise WorkerUnavailable("no worker has been ready yet", 3.0)
        config = CONFIG.model_copy(update={"example_scale": self.scale})
        return ModelInfo(config, self.fingerprint, 20.0, "cpu", "float32")

    def check(
        self,
        *,
        deadline: float,  # noqa: ARG002
        priority: Priority = Priority.INTERACTIVE,  # noqa: ARG002
    ) -> None:
        if not self.ready:
            raise WorkerUnavailable("no worker is ready", 3.0)
        if self.admission_failure is not None:
            raise self.admission_failure

    def reserve(
        self,
        windows: int,
        *,
        deadline: float,  # noqa: ARG002
        priority: Priority = Priority.INTERACTIVE,  # noqa: ARG002
    ) -> AbstractAsyncContextManager[Reservation]:
        self.reserved += windows
        return self._reserve()

    @asynccontextmanager
    async def _reserve(self) -> AsyncIterator[Reservation]:
        if self.reservation_failure is not None:
            raise self.reservation_failure
        yield Reservation(0, 1)

    async def embed_audio(
        self,
        windows: Vectors | Recording,
        *,
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        reservation: Reservation | None = None,
        fingerprint: str | None = None,
    ) -> Embedded:
        assert fingerprint in (None, self.info.fingerprint)
        assert reservation is not None or len(windows) == 1, "room is to be reserved before decoding"
        if reservation is None and self.reservation_failure is not None:
            raise self.reservation_failure
        self.windows += len(windows)
        self.priorities.append(priority)
        self.deadlines.append(deadline)
        began = time.perf_counter()
        await self._wait(deadline, self.audio_delay_s)
        if self.audio_failure is not None:
            raise self.audio_failure
        if isinstance(windows, Recording):
            windows = resampled(windows)
        return Embedded(spectra(windows), 0.0, time.perf_counter() - began)

    async def embed_text(
        self,
        prompts: Sequence[str],
        *,
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        fingerprint: str | None = None,
    ) -> Embedded:
        assert fingerprint in (None, self.info.fingerprint)
        self.prompts += prompts
        self.priorities.append(priority)
        await self._wait(deadline, self.text_delay_s)
        if self.text_failure is not None:
            raise self.text_failure
        return Embedded(np.stack([meaning(prompt) for prompt in prompts]), 0.0, self.text_delay_s)

    async def _wait(self, deadline: float, seconds: float) -> None:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await asyncio.sleep(seconds)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed") from None
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
