"""Microsoft's files: every key of both releases has its place, and the model that comes out is the one that went in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.checkpoint import CheckpointError, stored_keys
from model.checkpoint import load as load_checkpoint
from model.clap import Clap
from model.config import ClapConfig, FrontEndConfig
from model.front_end import mel_matrix
from model.importers import msclap, read
from model.importers.weights import Third, Weights
from tests.model.importers.peers import write_gpt2_tokenizer, write_msclap_2023

BAND = FrontEndConfig(f_max=14_000)
STFT = ("spectrogram_extractor.stft.conv_real.weight", "spectrogram_extractor.stft.conv_imag.weight")


def listed(path: Path, mel: str) -> Weights:
    """The release's keys and shapes, without values but for the mel matrix."""
    state = {}
    for line in path.read_text().splitlines():
        key, shape, dtype = line.split("\t")
        sizes = [int(size) for size in shape.strip("()").split(",") if size.strip()]
        state[key] = torch.empty(sizes, dtype=getattr(torch, dtype.removeprefix("torch.")), device="meta")
    state[mel] = mel_matrix(BAND)
    return Weights(state, {path: ""})


def without_values(config: ClapConfig) -> Clap:
    """A full-size model that takes no memory."""
    front_end = config.front_end.model_copy(update={"mel_scale": "stored"})
    with torch.device("meta"):
        return Clap(config.model_copy(update={"front_end": front_end}))


def taken(model: Clap, weights: Weights, version: str) -> set[str]:
    """The release's keys that the model takes, each checked for its shape."""
    used = set()
    values = model.state_dict()
    for key in stored_keys(model):
        source = key if version == "2022" else msclap.origin_2023(key)
        name, parts = (source.key, 3) if isinstance(source, Third) else (source, 1)
        found, wanted = weights.state[name].shape, values[key].shape
        assert found[1:] == wanted[1:], name
        assert not len(wanted) or found[0] == parts * wanted[0], name
        used.add(name)
    return used


def test_of_the_292_keys_of_2022_only_the_fourier_kernels_are_not_taken_over(shared: Path) -> None:
    weights = listed(shared / "reference" / "msclap-2022-state-dict.txt", "audio_encoder.base.logmel_extractor.melW")
    assert len(weights.state) == 292
    config, band = msclap.config_2022(weights, "msclap-2022")
    assert "50-14000 Hz" in band
    assert config.front_end == FrontEndConfig(f_max=14_000)
    model = without_values(config)
    assert weights.state.keys() - taken(model, weights, "2022") == {f"audio_encoder.base.{key}" for key in STFT}


def test_of_the_357_keys_of_2023_only_constants_and_the_class_heads_are_not_taken_over(shared: Path) -> None:
    htsat = "audio_encoder.base.htsat."
    weights = listed(shared / "reference" / "msclap-2023-state-dict.txt", f"{htsat}logmel_extractor.melW")
    assert len(weights.state) == 357
    config, _ = msclap.config_2023(weights, "msclap-2023")
    assert config.front_end.window_s == 7
    model = without_values(config)
    shifted = [(0, 1), (1, 1), (2, 1), (2, 3), (2, 5)]
    assert weights.state.keys() - taken(model, weights, "2023") == {
        *(f"{htsat}{key}" for key in STFT),
        *(f"{htsat}layers.{stage}.blocks.{block}.attn_mask" for stage, block in shifted),
        *(f"{htsat}{head}.{kind}" for head in ("tscam_conv", "head") for kind in ("weight", "bias")),
    }


@torch.inference_mode()
def test_a_2023_file_becomes_the_model_it_holds(tmp_path: Path) -> None:
    released = write_msclap_2023(tmp_path / "weights.pth")
    tokenizer = write_gpt2_tokenizer(tmp_path / "gpt2")
    imported = read("msclap-2023", tmp_path / "weights.pth", tokenizer=tokenizer)
    imported.write(tmp_path / "out")
    checkpoint = load_checkpoint(tmp_path / "out")
    windows = torch.randn(2, checkpoint.config.front_end.window_samples) * 0.1
    torch.testing.assert_close(checkpoint.model.embed_audio(windows), released.embed_audio(windows))
    tokens = checkpoint.tokenizer(["rain", "dog " * 100])
    torch.testing.assert_close(checkpoint.model.embed_text(tokens), released.embed_text(tokens))
    assert tokens["input_ids"].shape[1] == 77
    end = checkpoint.tokenizer.inner.convert_tokens_to_ids("<|endoftext|>")
    assert tokens["input_ids"][1, -1] == end, "a prompt that is cut keeps its end"
    assert tokens["input_ids"][0].tolist().count(end) == 1
    assert checkpoint.tokenizer.inner.pad_token == "!"
    assert imported.notes[0] == "the mel matrix is Slaney's, 50-14000 Hz"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"logit_scale": None}, "lacks logit_scale"),
        ({f"{msclap.HTSAT}layers.0.blocks.0.attn.qkv.bias": None}, r"lacks .*qkv\.bias"),
        ({f"{msclap.HTSAT}layers.0.blocks.0.attn.qkv.bias": torch.ones(23)}, r"qkv\.bias is \(23,\), not three"),
        ({f"{msclap.HTSAT}logmel_extractor.melW": None}, r"lacks .*melW"),
        ({f"{msclap.HTSAT}layers.0.blocks.1.attn_mask": torch.ones(64, 64, 64)}, "attn_mask is not the constant"),
        ({f"{msclap.HTSAT}spectrogram_extractor.stft.conv_real.weight": torch.ones(513, 1, 1024)}, "conv_real.*const"),
        ({"caption_encoder.base.wte.weights": torch.ones(1)}, r"unknown key caption_encoder\.base\.wte\.weights"),
        ({"caption_encoder.projection.linear1.weight": torch.ones(12, 3)}, r"linear1\.weight is \(12, 3\), not"),
    ],
)
def test_a_key_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], complaint: str
) -> None:
    write_msclap_2023(tmp_path / "weights.pth", **changes)
    with pytest.raises(CheckpointError, match=complaint):
        read("msclap-2023", tmp_path / "weights.pth", tokenizer=write_gpt2_tokenizer(tmp_path / "gpt2"))


def test_a_mel_matrix_built_for_another_rate_is_kept_and_its_true_band_told(tmp_path: Path) -> None:
    matrix = mel_matrix(FrontEndConfig(sample_rate=32_000, f_max=14_000))
    write_msclap_2023(tmp_path / "weights.pth", **{f"{msclap.HTSAT}logmel_extractor.melW": matrix})
    tokenizer = write_gpt2_tokenizer(tmp_path / "gpt2")
    imported = read("msclap-2023", tmp_path / "weights.pth", tokenizer=tokenizer)
    assert "built for 32000 Hz audio and used at 44100 Hz" in imported.notes[0]
    assert imported.model.config.front_end.mel_scale == "stored"
    assert imported.model.config.front_end.f_max == pytest.approx(14_000 * 44_100 / 32_000, rel=0.01)
    torch.testing.assert_close(imported.model.audio_encoder.base.logmel_extractor.melW, matrix)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    write_msclap_2023(tmp_path / "weights.pth", **{"caption_encoder.base.wte.weight": torch.zeros(100, 64)})
    with pytest.raises(CheckpointError, match=r"the tokenizer has .* tokens, the model has 100"):
        read("msclap-2023", tmp_path / "weights.pth", tokenizer=write_gpt2_tokenizer(tmp_path / "gpt2"))
