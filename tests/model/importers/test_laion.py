"""laion_clap's files: HTSAT with and without fusion, under its own names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.checkpoint import CheckpointError
from model.checkpoint import load as load_checkpoint
from model.importers import read
from tests.model.importers.peers import write_laion, write_roberta_tokenizer


@pytest.mark.parametrize("fused", [False, True])
@torch.inference_mode()
def test_a_file_becomes_the_model_it_holds(tmp_path: Path, fused: bool) -> None:
    released = write_laion(tmp_path / "630k-best.pt", fused, {})
    imported = read("laion", tmp_path / "630k-best.pt", tokenizer=write_roberta_tokenizer(tmp_path / "roberta"))
    imported.write(tmp_path / "out")
    checkpoint = load_checkpoint(tmp_path / "out")
    assert checkpoint.config.name == "630k-best"
    assert checkpoint.config.audio_encoder == released.config.audio_encoder
    windows = torch.randn(2, 480_000) * 0.1
    torch.testing.assert_close(checkpoint.model.embed_audio(windows), released.embed_audio(windows))
    tokens = checkpoint.tokenizer(["rain", "dog " * 100])
    assert tokens["input_ids"].shape[1] == 77
    torch.testing.assert_close(checkpoint.model.embed_text(tokens), released.embed_text(tokens))
    told = "\n".join(imported.notes)
    for key in ("logit_scale_t", "audio_transform.sequential.0.weight", "audio_branch.tscam_conv.bias"):
        assert key in told


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"logit_scale_a": None}, "lacks logit_scale_a"),
        ({"audio_projection.2.weight": torch.ones(12, 5)}, r"audio_projection\.2\.weight is \(12, 5\), not \(12, 12\)"),
        ({"text_branch.pooler.dense.weigth": torch.ones(1)}, r"unknown key text_branch\.pooler\.dense\.weigth"),
        ({"text_branch.embeddings.word_embeddings.weight": None}, r"lacks text_branch\.embeddings\.word_emb"),
    ],
)
def test_a_key_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], complaint: str
) -> None:
    write_laion(tmp_path / "clap.pt", False, changes)
    with pytest.raises(CheckpointError, match=complaint):
        read("laion", tmp_path / "clap.pt", tokenizer=write_roberta_tokenizer(tmp_path / "roberta"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("fused", [False, True])
@torch.inference_mode()
def test_a_file_in_half_precision_is_the_same_model_rounded(tmp_path: Path, fused: bool, dtype: torch.dtype) -> None:
    released = write_laion(tmp_path / "full.pt", fused, {})
    saved = torch.load(tmp_path / "full.pt")
    halved = {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in saved["state_dict"].items()
    }
    torch.save({"state_dict": halved}, tmp_path / "half.pt")
    imported = read("laion", tmp_path / "half.pt", tokenizer=write_roberta_tokenizer(tmp_path / "roberta"))
    assert imported.model.config.front_end == released.config.front_end
    windows = torch.randn(2, 480_000) * 0.1
    likeness = (imported.model.embed_audio(windows) * released.embed_audio(windows)).sum(dim=1)
    assert (likeness > (0.9999 if dtype is torch.float16 else 0.995)).all()


def test_a_constant_that_differs_by_more_than_its_rounding_is_refused(tmp_path: Path) -> None:
    key = "audio_branch.spectrogram_extractor.stft.conv_real.weight"
    write_laion(tmp_path / "full.pt", False, {})
    saved = torch.load(tmp_path / "full.pt")["state_dict"]
    saved[f"module.{key}"] = (saved[f"module.{key}"] * 1.01).half()
    torch.save({"state_dict": saved}, tmp_path / "half.pt")
    with pytest.raises(CheckpointError, match=r"conv_real\.weight is not the constant"):
        read("laion", tmp_path / "half.pt", tokenizer=write_roberta_tokenizer(tmp_path / "roberta"))
