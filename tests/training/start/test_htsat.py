"""HTSAT in training: released weights, recomputed layers, and recordings longer than the model's length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from model.clap import Clap
from model.config import ClapConfig, HtsatConfig
from model.htsat import Htsat, crops
from model.importers import htsat
from model.importers.weights import Third
from tests.checkpoints import TINY
from training.loop.layers import layers
from training.recipe import RecipeError
from training.start.start import load_audio

SMALL = HtsatConfig(width=16, stage_depths=(1, 2), stage_heads=(2, 2), image_size=64)


def encoder(config: HtsatConfig = SMALL, **front_end: object) -> Htsat:
    members = TINY.model_dump() | {"audio_encoder": config.model_dump()}
    members["front_end"] |= {"hop_length": 100, "mel_bins": 32, **front_end}
    base = Clap(ClapConfig.model_validate(members)).audio_encoder.base
    assert isinstance(base, Htsat)
    return base.eval()


def released(base: Htsat, path: Path) -> dict[str, torch.Tensor]:
    """The weights as HTS-AT's authors save them: their names, joint projections, heads and masks."""
    prefix = "htsat.audio_encoder."
    state: dict[str, torch.Tensor] = {}
    thirds: dict[str, dict[int, torch.Tensor]] = {}
    for key, value in base.state_dict().items():
        if key.startswith(prefix):
            origin = htsat.origin(key.removeprefix(prefix))
            if isinstance(origin, Third):
                thirds.setdefault(origin.key, {})[origin.index] = value
            else:
                state[origin] = value
    state |= {key: torch.cat([parts[number] for number in range(3)]) for key, parts in thirds.items()}
    state |= {"head.weight": torch.zeros(2, 2), "tscam_conv.bias": torch.zeros(2)}
    state |= {
        "layers.1.blocks.1.attn_mask": torch.zeros(1),
        "spectrogram_extractor.stft.conv_real.weight": torch.ones(1),
    }
    torch.save({"state_dict": {f"sed_model.{key}": value for key, value in state.items()}}, path)
    return state


def test_the_authors_weights_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = encoder()
    torch.manual_seed(1)
    ours = encoder()
    released(theirs, tmp_path / "htsat.ckpt")
    load_audio(ours, tmp_path / "htsat.ckpt")
    windows = torch.randn(2, 8_000)
    assert torch.equal(ours(windows), theirs(windows))


def test_a_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    state = released(encoder(), tmp_path / "htsat.ckpt")
    del state["norm.bias"]
    torch.save(state, tmp_path / "htsat.ckpt")
    with pytest.raises(RecipeError, match=r"lacks htsat\.audio_encoder\.norm\.bias: it is not the recipe's encoder"):
        load_audio(encoder(), tmp_path / "htsat.ckpt")


def test_every_layer_is_recomputed() -> None:
    assert len(layers(encoder())) == 3


FUSED = SMALL.model_copy(update={"fused": True, "fuse_windows": False, "fusion_s": 0.5})


def test_fusion_hears_what_comes_after_the_model_s_length() -> None:
    base = encoder(FUSED, window_s=2, window_hop_s=2, padding="zero")
    recordings = torch.zeros(3, 16_000)
    recordings[:, :4_000] = torch.randn(4_000)
    recordings[1, 4_000:12_000] = torch.randn(8_000)
    recordings[2, 4_000:12_000] = torch.randn(8_000)
    with torch.inference_mode():
        short, first, second = base(recordings)
        alone = base(recordings[:1])[0]
    assert torch.allclose(short, alone, atol=1e-5)
    assert not torch.allclose(first, second, atol=1e-3)
    assert not torch.allclose(first, short, atol=1e-3)


def test_a_short_recording_is_repeated_and_bypasses_the_fusion() -> None:
    fused = encoder(FUSED, window_s=2, window_hop_s=2, padding="zero")
    recording = torch.zeros(1, 16_000)
    recording[0, :1_000] = torch.randn(1_000)
    mel, longer = fused.fusion_input(recording, 4_000)
    assert longer.tolist() == [False]
    expected = fused.logmel_extractor(recording[:, :1_000].repeat(1, 4))
    assert torch.allclose(mel[0], expected.expand(4, -1, -1), atol=1e-4)


def test_a_crop_lies_in_each_third() -> None:
    assert crops(9, random=False) == [1, 4, 7]
    for _ in range(20):
        assert [first // 3 for first in crops(9, random=True)] == [0, 1, 2]
    assert crops(1, random=True) == [0, 0, 0]


def test_fusion_over_longer_windows_needs_zeros_at_the_end() -> None:
    with pytest.raises(ValidationError, match="fusion_s needs the padding zero"):
        encoder(FUSED, padding="repeat")
    with pytest.raises(ValidationError, match="fusion_s needs a fused model"):
        HtsatConfig(fusion_s=10)
