"""The batch size that suits the device is found while running, and halved when memory runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.encoder import BatchSize, Encoder
from model.checkpoint import Checkpoint


def run(batch: BatchSize, seconds_a_window: dict[int, float]) -> None:
    for _ in range(40):
        batch.took(batch.size, batch.size * seconds_a_window[batch.size])


def test_it_doubles_while_that_is_faster() -> None:
    batch = BatchSize(8, limit=256)
    run(batch, {8: 1.0, 16: 0.6, 32: 0.4, 64: 0.39, 128: 0.1})
    assert (batch.size, batch.settled) == (32, True)


def test_it_stays_within_its_limit() -> None:
    batch = BatchSize(8, limit=32)
    run(batch, {8: 1.0, 16: 0.5, 32: 0.25, 64: 0.1})
    assert (batch.size, batch.settled) == (32, True)


def test_a_last_small_batch_says_nothing() -> None:
    batch = BatchSize(8)
    for _ in range(10):
        batch.took(3, 0.1)
    assert batch.size == 8


def test_memory_that_runs_out_halves_the_batch_and_loses_nothing(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = np.random.default_rng(0).standard_normal((20, 8_000)).astype(np.float32) * 0.1
    expected, _ = encoder(windows)
    forward = encoder.forward

    def small(part: np.ndarray, precision: str) -> object:
        if len(part) > 3:
            raise torch.cuda.OutOfMemoryError
        return forward(part, "fp32")

    monkeypatch.setattr(encoder, "forward", small)
    encoder.batch = BatchSize(16)
    joint, _ = encoder(windows)
    assert encoder.batch.size == 2
    np.testing.assert_allclose(joint, expected, atol=1e-5)


def test_a_window_that_does_not_fit_alone_is_an_error(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(part: np.ndarray, precision: str) -> object:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(encoder, "forward", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        encoder(np.zeros((4, 8_000), np.float32))


def test_a_cpu_works_in_float32(checkpoint: Checkpoint) -> None:
    assert Encoder(checkpoint, "cpu").precision == "fp32"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_works_in_bf16_only_where_it_agrees(checkpoint: Checkpoint) -> None:
    try:
        windows = np.random.default_rng(0).standard_normal((9, 8_000)).astype(np.float32) * 0.1
        encoder = Encoder(checkpoint, "cuda")
        joint, _ = encoder(windows)
        exact, _ = Encoder(checkpoint, "cuda", "fp32")(windows)
        assert np.abs(joint - exact).max() <= 5e-3
    finally:
        checkpoint.model.cpu()
