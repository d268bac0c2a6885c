"""The promise of exact scores: the same clip gives the same embedding alone, in a batch, and on every run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import DEFAULT, Checkpoint, load
from model.clap import Clap, projection
from model.config import ProjectionConfig
from model.embed import embed_prompts, embed_windows
from tests.checkpoints import TINY


@pytest.fixture(scope="module")
def bundled() -> Checkpoint:
    return load(DEFAULT)


@pytest.fixture(scope="module")
def windows(bundled: Checkpoint) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (64, bundled.config.front_end.window_samples)
    level = 10 ** rng.uniform(-3, 0, (64, 1))
    return (rng.standard_normal(shape) * level).astype(np.float32)


def test_an_embedding_is_the_same_alone_and_inside_64_clips(bundled: Checkpoint, windows: np.ndarray) -> None:
    together = embed_windows(bundled, windows, batch=64)
    for index in (0, 17, 63):
        alone = embed_windows(bundled, windows[index : index + 1])
        np.testing.assert_allclose(alone[0], together[index], atol=1e-5)


def test_an_embedding_is_the_same_from_run_to_run(bundled: Checkpoint, windows: np.ndarray) -> None:
    first, second = (embed_windows(load(DEFAULT), windows[:2]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_prompt_s_embedding_does_not_depend_on_the_longer_one_beside_it(bundled: Checkpoint) -> None:
    prompts = ["a dog", "a very long and winding description of a dog that barks at the rain all night long"]
    np.testing.assert_allclose(embed_prompts(bundled, prompts)[0], embed_prompts(bundled, prompts[:1])[0], atol=1e-5)


def test_prompts_longer_than_the_encoder_reads_are_cut(bundled: Checkpoint) -> None:
    assert np.isfinite(embed_prompts(bundled, ["dog " * 5_000])).all()


def test_embeddings_have_norm_one(bundled: Checkpoint, windows: np.ndarray) -> None:
    silence = np.zeros_like(windows[:1])
    for embeddings in (
        embed_windows(bundled, windows[:4]),
        embed_windows(bundled, silence),
        embed_prompts(bundled, ["雨", ""]),
    ):
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-5)


def test_the_temperature_starts_at_seven_hundredths_and_its_scale_is_clipped_at_100() -> None:
    clap = Clap(TINY)
    assert float(clap.scale.detach()) == pytest.approx(1 / 0.07)
    with torch.no_grad():
        clap.logit_scale.fill_(math.log(1 / 0.007))
    assert float(clap.scale.detach()) == 100.0


def test_logits_are_scale_times_cosine(tiny_folder: Path) -> None:
    checkpoint = load(tiny_folder)
    windows, tokens = torch.randn(3, 8_000), checkpoint.tokenizer(["dog", "rain"])
    cosine = checkpoint.model.embed_audio(windows) @ checkpoint.model.embed_text(tokens).T
    torch.testing.assert_close(checkpoint.model(windows, tokens), checkpoint.logit_scale * cosine)


def test_the_projections_are_the_paper_s_and_the_released_code_s() -> None:
    linear = projection(ProjectionConfig(kind="linear"), 8, 4)
    residual = projection(ProjectionConfig(kind="residual"), 8, 4)
    assert set(linear.state_dict()) == {"linear.weight", "linear.bias"}
    assert set(residual.state_dict()) == {"linear1.weight", "linear2.weight", "layer_norm.weight", "layer_norm.bias"}
    with pytest.raises(ValueError, match="identity"):
        projection(ProjectionConfig(kind="identity"), 8, 4)
