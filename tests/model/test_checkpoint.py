"""Checkpoint directories load strictly, or say what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import CONFIG, DEFAULT, WEIGHTS, CheckpointError, calibrate, fingerprint, load, read_config, save
from model.config import ExampleScale
from tests.checkpoints import TINY, tiny_checkpoint


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def change_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    state = load_file(folder / WEIGHTS)
    for key, value in changes.items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    save_file(state, folder / WEIGHTS)


def test_what_is_saved_is_what_is_loaded(folder: Path, tmp_path: Path) -> None:
    first = load(folder)
    save(first.model, tmp_path / "again", first.tokenizer)
    second = load(tmp_path / "again")
    assert second.config == first.config
    for key, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key]), key


def test_a_loaded_model_is_in_evaluation_mode_without_gradients(folder: Path) -> None:
    model = load(folder).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_weights_stored_in_half_precision_are_float32_once_loaded(tmp_path: Path, tiny_folder: Path) -> None:
    checkpoint = load(tiny_folder)
    save(checkpoint.model, tmp_path / "half", checkpoint.tokenizer, dtype=torch.float16)
    loaded = load(tmp_path / "half").model
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert (tmp_path / "half" / WEIGHTS).stat().st_size < 0.6 * (tiny_folder / WEIGHTS).stat().st_size


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"logit_scale": None}, "lacks logit_scale"),
        ({"logit_scales": torch.zeros(())}, "unknown key logit_scales"),
        ({"logit_scale": torch.zeros(2)}, r"logit_scale is \(2,\), not \(\)"),
        ({"logit_scale": torch.tensor(float("nan"))}, "logit_scale is not finite"),
    ],
)
def test_a_key_that_is_missing_unknown_misshapen_or_not_finite_is_named(
    folder: Path, changes: dict[str, torch.Tensor | None], complaint: str
) -> None:
    change_weights(folder, **changes)
    with pytest.raises(CheckpointError, match=complaint):
        load(folder)


def test_weights_cut_short_are_refused(folder: Path) -> None:
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        load(folder)


def test_an_unknown_member_of_the_config_is_named(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["front_end"]["hop"] = 3
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"front_end\.hop"):
        load(folder)


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load(tmp_path)


def test_other_weights_of_the_packaged_text_encoder_are_refused(tmp_path: Path) -> None:
    config = read_config(DEFAULT)
    text = config.text_encoder.model_copy(update={"sha256": "0" * 64})
    shutil.copytree(DEFAULT, tmp_path / "default")
    document = config.model_copy(update={"text_encoder": text}).model_dump_json()
    (tmp_path / "default" / CONFIG).write_text(document)
    with pytest.raises(CheckpointError, match="was trained with 0000"):
        load(tmp_path / "default")


def test_the_fingerprint_follows_weights_config_and_tokenizer(folder: Path, tmp_path: Path) -> None:
    before = fingerprint(folder)
    assert before == fingerprint(folder)
    assert before == fingerprint(Path(shutil.copytree(folder, tmp_path / "moved")))
    assert fingerprint(tiny_checkpoint(tmp_path / "other", seed=1)) != before
    renamed = tiny_checkpoint(tmp_path / "renamed", TINY.model_copy(update={"name": "renamed"}))
    assert fingerprint(renamed) != before
    (folder / "vocab.txt").write_text("changed")
    assert fingerprint(folder) != before


def test_the_bundled_checkpoint_is_small_and_loads() -> None:
    checkpoint = load(DEFAULT)
    size = sum(path.stat().st_size for path in DEFAULT.rglob("*"))
    assert size <= 15_000_000
    assert 1 < checkpoint.logit_scale <= 100
    assert checkpoint.config.sources


def test_the_constants_for_examples_are_all_that_calibrating_changes_in_the_config(
    folder: Path, tiny_folder: Path
) -> None:
    before = (folder / "config.json").read_text(encoding="utf-8")
    assert "example_scale" not in before
    calibrate(folder, ExampleScale(tau0=0.1, tau1=0.2, a0=0.3, a1=0.4))
    after = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert after.pop("example_scale") == {"tau0": 0.1, "tau1": 0.2, "a0": 0.3, "a1": 0.4}
    assert json.dumps(after, indent=2, ensure_ascii=False) + "\n" == before
    assert load(folder).config.example_scale is not None
    assert fingerprint(folder) != fingerprint(tiny_folder)


def test_a_config_without_the_constants_is_written_as_before_there_were_any(tiny_folder: Path, tmp_path: Path) -> None:
    save(load(tiny_folder).model, tmp_path / "again")
    assert (tmp_path / "again" / "config.json").read_bytes() == (tiny_folder / "config.json").read_bytes()
