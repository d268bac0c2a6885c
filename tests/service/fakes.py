"""A model without weights, whose embeddings can be told apart, and which fails when told to."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from model.config import ClapConfig, FrontEndConfig, TextEncoderConfig
from service.ipc.embedding import ModelInfo, Vectors
from service.worker.isolation import OutOfMemory

CONFIG = ClapConfig(
    name="fake",
    front_end=FrontEndConfig(
        sample_rate=1_000, n_fft=64, window_length=64, mel_bins=8, f_max=500, window_s=1, window_hop_s=1
    ),
    text_encoder=TextEncoderConfig(architecture={"model_type": "bert"}),
    joint_dim=2,
)
SAMPLES = CONFIG.front_end.window_samples

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
    While `gate` is clear, batches wait inside the model.
    """

    def __init__(self, room: int = 1_000) -> None:
        self.dim = CONFIG.joint_dim
        self.window_samples = SAMPLES
        self.info = ModelInfo(CONFIG, "f" * 64, 14.0, "cpu", "float32")
        self.room = room
        self.batches: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def embed_audio(self, windows: Sequence[Vectors]) -> Vectors:
        values = [float(each[0]) for each in windows]
        self.batches.append(values)
        self.entered.release()
        self.gate.wait()
        if len(values) > self.room:
            raise OutOfMemory(f"{len(values)} windows")
        if BAD in values:
            raise RuntimeError("the forward pass crashed")
        return np.array(
            [[np.nan if v == NOT_FINITE else v, len(w)] for v, w in zip(values, windows, strict=True)], np.float32
        )

    def embed_text(self, prompts: Sequence[str]) -> Vectors:
        self.batches.append([float(len(prompt)) for prompt in prompts])
        self.entered.release()
        self.gate.wait()
        return np.array([[len(prompt), 0] for prompt in prompts], np.float32)
