"""The weights that a run starts from; nothing that it trains is missing from its checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model.checkpoint import load, read_config, save
from model.clap import Clap
from model.cnn14 import Cnn14
from model.config import BUNDLED, Cnn14Config, FrontEndConfig, MobileNetConfig
from model.embed import embed_prompts
from model.front_end import LogMel
from tests.checkpoints import TINY
from tests.training.recordings import tiny_recipe
from training.recipe import RecipeError
from training.start.start import build, load_audio, load_text

MINILM = read_config(BUNDLED).text_encoder


def test_the_seed_decides_the_untrained_weights(tmp_path: Path) -> None:
    one, same, other = (build(tiny_recipe(tmp_path, seed=seed), tmp_path)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("freeze", [True, False])
def test_a_packaged_text_encoder_that_was_trained_on_is_in_the_checkpoint(tmp_path: Path, freeze: bool) -> None:
    checkpoint = TINY.model_copy(update={"text_encoder": MINILM}).model_dump()
    recipe = tiny_recipe(tmp_path, checkpoint=checkpoint, start={}, freeze={"text": freeze})
    clap, tokenizer = build(recipe, tmp_path)
    if not freeze:
        with torch.no_grad():
            next(clap.caption_encoder.base.parameters()).mul_(1.5)
    save(clap, tmp_path / "out", tokenizer)
    loaded = load(tmp_path / "out")
    prompts = ["a dog", "rain on a roof"]
    with torch.inference_mode():
        expected = clap.eval().embed_text(tokenizer(prompts)).numpy()
    np.testing.assert_allclose(embed_prompts(loaded, prompts), expected, atol=1e-6)
    assert (loaded.config.text_encoder.package is None) == (not freeze)


def test_a_run_begins_with_another_s_checkpoint(tmp_path: Path, tiny_folder: Path) -> None:
    recipe = tiny_recipe(tmp_path, start={"checkpoint": str(tiny_folder)})
    expected = load(tiny_folder).model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in build(recipe, tmp_path)[0].state_dict().items())


def test_panns_files_load_with_their_front_end_and_sampler_left_out(tmp_path: Path) -> None:
    torch.manual_seed(1)
    small = FrontEndConfig(mel_bins=64)
    theirs, ours = (Cnn14(Cnn14Config(classes=classes), LogMel(small)) for classes in (527, None))
    state = theirs.state_dict() | {"spectrogram_extractor.stft.conv_real.weight": torch.zeros(513, 1, 1024)}
    file = {"iteration": 7, "model": state, "sampler": {"indexes": np.arange(3), "pointer": np.int64(1)}}
    torch.save(file, tmp_path / "Cnn14.pth")
    mel = ours.logmel_extractor.melW.clone()
    load_audio(ours, tmp_path / "Cnn14.pth")
    assert torch.equal(ours.state_dict()["conv_block6.conv2.weight"], theirs.state_dict()["conv_block6.conv2.weight"])
    assert torch.equal(ours.logmel_extractor.melW, mel)


def test_efficientat_weights_load(shared: Path) -> None:
    config = TINY.model_copy(update={"audio_encoder": MobileNetConfig(width=0.4)})
    base = Clap(config).audio_encoder.base
    before = next(base.features.parameters()).clone()  # type: ignore[union-attr]
    load_audio(base, shared / "data/weights/efficientat_mn04_as.pt")
    assert not torch.equal(before, next(base.features.parameters()))  # type: ignore[union-attr]


def test_weights_of_another_encoder_are_named(shared: Path) -> None:
    path = shared / "data/weights/efficientat_mn04_as.pt"
    with pytest.raises(RecipeError, match=r"lacks features\..*: it is not the recipe's encoder"):
        load_audio(Clap(TINY).audio_encoder.base, path)
    with pytest.raises(RecipeError, match=r"lacks bn0\.weight: it is not the recipe's encoder"):
        load_audio(Cnn14(Cnn14Config(), LogMel(TINY.front_end)), path)


def test_a_transformers_folder_loads_whatever_head_its_model_has(tmp_path: Path) -> None:
    torch.manual_seed(2)
    theirs, ours = (Clap(TINY).caption_encoder.base for _ in range(2))
    state = {f"bert.{key}": value for key, value in theirs.state_dict().items() if not key.startswith("pooler.")}
    save_file(state | {"cls.predictions.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    load_text(ours, tmp_path / "model.safetensors")
    for (name, value), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(value, other) or name.startswith("pooler.")
