"""Folding changes the arithmetic, never the answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from model.clap import AudioEncoder
from model.config import ClapConfig, Cnn14Config
from model.folding import fold_batch_norms, prepare
from tests.checkpoints import TINY

ENCODERS = {"mobilenet": TINY, "cnn14": TINY.model_copy(update={"audio_encoder": Cnn14Config()})}


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> AudioEncoder:
    """An encoder in evaluation mode, with batch statistics that are not the initial zeros and ones."""
    return settled(ENCODERS[request.param])


def settled(config: ClapConfig) -> AudioEncoder:
    torch.manual_seed(0)
    encoder = AudioEncoder(config).eval()
    for norm in norms(encoder):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight, 1, 0.1)
        nn.init.normal_(norm.bias)
    return encoder


def norms(module: nn.Module) -> Iterator[nn.BatchNorm2d]:
    return (each for each in module.modules() if isinstance(each, nn.BatchNorm2d))


def windows(config: ClapConfig = TINY) -> torch.Tensor:
    return torch.randn(3, 2 * config.front_end.window_samples, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_a_prepared_encoder_gives_the_same_embeddings(encoder: AudioEncoder) -> None:
    before = encoder(windows())
    after = prepare(encoder, torch.float32)(windows())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * before.abs().max().item())


@torch.inference_mode()
def test_bfloat16_stays_close(encoder: AudioEncoder) -> None:
    before = nn.functional.normalize(encoder(windows()), dim=-1)
    prepare(encoder, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        after = nn.functional.normalize(encoder(windows()).float(), dim=-1)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, before, rtol=0, atol=0.03)


def test_every_batch_norm_behind_a_convolution_is_gone(encoder: AudioEncoder) -> None:
    fold_batch_norms(encoder)
    left = list(norms(encoder))
    assert len(left) == (1 if encoder.base.__class__.__name__ == "Cnn14" else 0), (
        "CNN14's first norm has none before it"
    )


def test_a_model_in_training_is_not_folded() -> None:
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batch_norms(AudioEncoder(TINY).train())
