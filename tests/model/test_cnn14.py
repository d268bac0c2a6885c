"""CNN14 has the released checkpoints' keys, shapes and size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.clap import Clap
from model.cnn14 import Cnn14
from model.config import ClapConfig, Cnn14Config, FrontEndConfig, ProjectionConfig, TextEncoderConfig
from model.front_end import LogMel

RELEASED = Path(__file__).parents[2].parent / "shared/reference/msclap-2022-state-dict.txt"
BERT_BASE = {"model_type": "bert"}
# Constants of the short-time Fourier transform, which the released code keeps as convolution weights.
FOURIER = {
    "audio_encoder.base.spectrogram_extractor.stft.conv_real.weight",
    "audio_encoder.base.spectrogram_extractor.stft.conv_imag.weight",
}


def released_keys() -> dict[str, tuple[int, ...]]:
    keys = {}
    for line in RELEASED.read_text().splitlines():
        name, shape, *_ = line.split("\t")
        keys[name] = tuple(int(size) for size in shape.strip("()").split(",") if size.strip())
    return keys


def paper_config() -> ClapConfig:
    return ClapConfig(
        name="paper",
        text_encoder=TextEncoderConfig(architecture=BERT_BASE),
        audio_projection=ProjectionConfig(kind="residual"),
        text_projection=ProjectionConfig(kind="residual"),
    )


def test_the_keys_and_shapes_are_the_released_ones_but_for_the_fourier_constants() -> None:
    if not RELEASED.exists():
        pytest.skip(f"the list of released keys is not at {RELEASED}")
    ours = {key: tuple(value.shape) for key, value in Clap(paper_config()).state_dict().items()}
    released = released_keys()
    assert len(released) == 292
    assert {key: shape for key, shape in released.items() if key not in FOURIER} == ours


def test_the_paper_s_encoder_has_80_million_parameters_and_embeds_in_2048_dimensions() -> None:
    encoder = Cnn14(Cnn14Config(classes=None), LogMel(FrontEndConfig()))
    convolutions_and_norms_and_fc1 = 79_672_320 + 64 * 2
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(convolutions_and_norms_and_fc1, rel=0.001)
    encoder.eval()
    with torch.inference_mode():
        assert encoder(torch.randn(1, 220_500)).shape == (1, 2048)


def test_a_five_second_window_makes_690_frames_of_64_mel_bins() -> None:
    assert LogMel(FrontEndConfig())(torch.randn(2, 220_500)).shape == (2, 690, 64)


def test_the_class_head_is_optional() -> None:
    encoder = Cnn14(Cnn14Config(classes=None), LogMel(FrontEndConfig()))
    with pytest.raises(ValueError, match="no class head"):
        encoder.classify(torch.zeros(1, 220_500))
