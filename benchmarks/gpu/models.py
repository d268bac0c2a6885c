"""The models of a GPU run. The bundled audio encoder is carried; the others are large and made of random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from model.checkpoint import DEFAULT, load, save
from model.clap import Clap
from model.config import ClapConfig, Cnn14Config, FrontEndConfig, HtsatConfig, MobileNetConfig, TextEncoderConfig

BUNDLED, CNN14, HTSAT = "bundled", "cnn14", "htsat"
SMALL_TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
CLAP_FRONT_END = FrontEndConfig(
    sample_rate=48_000, n_fft=1024, window_length=1024, hop_length=480, f_max=14_000, window_s=10, window_hop_s=10
)
"""LAION's: 48 kHz and windows of 10 s."""


def bundled_audio(folder: Path) -> Path:
    """The bundled checkpoint with a small text encoder of random weights instead of its own 90 MB. Written once."""
    if (folder / "model.safetensors").exists():
        return folder
    checkpoint = load(DEFAULT)
    text = TextEncoderConfig(
        architecture={"model_type": "bert", "vocab_size": len(checkpoint.tokenizer.inner), **SMALL_TEXT},
        pooling="mean",
        max_tokens=64,
    )
    torch.manual_seed(0)
    clap = Clap(checkpoint.config.model_copy(update={"text_encoder": text, "name": "bundled-audio"}))
    clap.audio_encoder.load_state_dict(checkpoint.model.audio_encoder.state_dict())
    save(clap, folder, checkpoint.tokenizer, torch.float16)
    return folder


def made(kind: str, pack: Path, quick: bool) -> Path:
    """The checkpoint of a kind. Those that are not carried are written once; with `quick` they are small."""
    carried = pack / "models" / BUNDLED
    if kind == BUNDLED:
        return carried
    folder = pack / "models" / (f"{kind}-small" if quick else kind)
    if (folder / "model.safetensors").exists():
        return folder
    source = load(carried)
    torch.manual_seed(0)
    save(Clap(config(kind, source.config.text_encoder, quick)), folder, source.tokenizer)
    return folder


def config(kind: str, text: TextEncoderConfig, quick: bool) -> ClapConfig:
    """CNN14 as in the paper, or HTS-AT as LAION's."""
    if kind == CNN14:
        audio = MobileNetConfig(width=0.1) if quick else Cnn14Config(classes=None)
        return ClapConfig(name=kind, audio_encoder=audio, text_encoder=text)
    small = HtsatConfig(width=24, stage_depths=(1, 1, 1, 1), stage_heads=(1, 2, 4, 8)) if quick else HtsatConfig()
    return ClapConfig(name=kind, front_end=CLAP_FRONT_END, audio_encoder=small, text_encoder=text, joint_dim=512)
