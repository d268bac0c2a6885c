"""A transformers ClapModel, imported, is the same model; and what is not one is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ClapFeatureExtractor, ClapModel, RobertaTokenizer

from model.checkpoint import CheckpointError
from model.checkpoint import load as load_checkpoint
from model.config import HtsatConfig
from model.embed import embed_prompts, embed_windows
from model.importers import read
from model.windows import cut
from tests.model.importers.peers import change_json, change_safetensors, write_transformers_clap

PROMPTS = ["this is a sound of the dog", "rain", "cat siren " * 30]


@pytest.fixture(scope="module", params=["unfused", "fused"])
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClapModel]:
    folder = tmp_path_factory.mktemp("released") / request.param
    return folder, write_transformers_clap(folder, fused=request.param == "fused")


@pytest.fixture
def copy(released: tuple[Path, ClapModel], tmp_path: Path) -> Path:
    return Path(shutil.copytree(released[0], tmp_path / "copy"))


def peer_mel(folder: Path, clip: np.ndarray) -> dict[str, torch.Tensor]:
    extractor = ClapFeatureExtractor.from_pretrained(folder)
    return dict(extractor(clip, sampling_rate=8_000, return_tensors="pt"))


@pytest.mark.parametrize("seconds", [0.3, 1.0])
@torch.inference_mode()
def test_a_clip_gets_the_peers_spectrogram_and_embedding(
    released: tuple[Path, ClapModel], tmp_path: Path, seconds: float
) -> None:
    folder, peer = released
    read("transformers", folder).write(tmp_path / "out")
    checkpoint = load_checkpoint(tmp_path / "out")
    clip = np.random.default_rng(0).standard_normal(round(8_000 * seconds)).astype(np.float32) * 0.1
    windows, _ = cut(clip, 8_000, 8_000, checkpoint.config.front_end.padding)
    features = peer_mel(folder, clip)
    mel = checkpoint.model.audio_encoder.base.logmel_extractor(torch.from_numpy(windows))
    torch.testing.assert_close(mel, features["input_features"][:, -1].float(), rtol=1e-5, atol=1e-4)
    expected = peer.get_audio_features(
        input_features=features["input_features"].float(), is_longer=features["is_longer"]
    ).pooler_output
    np.testing.assert_allclose(embed_windows(checkpoint, windows), expected.numpy(), rtol=1e-4, atol=1e-6)


@torch.inference_mode()
def test_prompts_get_the_peers_embeddings_up_to_its_longest(released: tuple[Path, ClapModel], tmp_path: Path) -> None:
    folder, peer = released
    read("transformers", folder).write(tmp_path / "out")
    checkpoint = load_checkpoint(tmp_path / "out")
    tokens = RobertaTokenizer.from_pretrained(folder)(
        PROMPTS, padding=True, truncation=True, max_length=32, return_tensors="pt"
    )
    expected = peer.get_text_features(**tokens).pooler_output
    np.testing.assert_allclose(embed_prompts(checkpoint, PROMPTS), expected.numpy(), rtol=1e-4, atol=1e-6)
    assert checkpoint.logit_scale == pytest.approx(float(peer.logit_scale_a.exp()))


def test_a_window_has_the_same_embedding_alone_and_in_a_batch(released: tuple[Path, ClapModel], tmp_path: Path) -> None:
    read("transformers", released[0]).write(tmp_path / "out")
    checkpoint = load_checkpoint(tmp_path / "out")
    windows = np.random.default_rng(0).standard_normal((5, 8_000)).astype(np.float32)
    together = embed_windows(checkpoint, windows)
    alone = np.concatenate([embed_windows(checkpoint, windows[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_the_import_tells_the_checksum_and_what_was_left_out(released: tuple[Path, ClapModel]) -> None:
    imported = read("transformers", released[0], "laion/some-clap")
    (digest,) = imported.files.values()
    assert len(digest) == 64
    assert imported.model.config.name == "laion/some-clap"
    assert digest in imported.model.config.sources[0]
    assert {note.split(":")[0] for note in imported.notes} == {
        "left out logit_scale_t",
        "left out text_model.embeddings.position_ids, text_model.embeddings.token_type_ids",
    }


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"logit_scale_a": None}, "lacks logit_scale_a"),
        ({"text_projection.linear1.bias": None}, r"lacks text_projection\.linear1\.bias"),
        ({"audio_model.audio_encoder.batch_norms": torch.ones(1)}, "unknown key audio_model.audio_encoder.batch_norms"),
        ({"audio_model.audio_encoder.norm.weight": torch.ones(3)}, r"norm\.weight is \(3,\), not \(16,\)"),
        ({"audio_projection.linear1.bias": torch.full((12,), torch.inf)}, r"linear1\.bias is not finite"),
        ({"text_model.embeddings.position_ids": torch.zeros(1, 34)}, "position_ids is not the constant"),
    ],
)
def test_a_key_that_is_missing_unknown_or_misshapen_is_refused_by_its_name_in_the_file(
    copy: Path, changes: dict[str, torch.Tensor | None], complaint: str
) -> None:
    change_safetensors(copy, **changes)
    with pytest.raises(CheckpointError, match=complaint):
        read("transformers", copy)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"model_type": "clip"}, "model_type is not clap"),
        ({"audio_config.qkv_bias": False}, "audio_config.qkv_bias is False"),
        ({"projection_hidden_act": "tanh"}, "projection_hidden_act is 'tanh'"),
        ({"audio_config.patch_stride": [4, 2]}, "not square"),
    ],
)
def test_an_architecture_that_is_not_known_is_refused(copy: Path, members: dict[str, object], complaint: str) -> None:
    change_json(copy / "config.json", **members)
    with pytest.raises(CheckpointError, match=complaint):
        read("transformers", copy)


def test_the_released_fused_config_which_names_no_fusion_is_read(tmp_path: Path) -> None:
    """transformers' own conversion left `fusion_type` null; it is aff_2d all the same."""
    write_transformers_clap(tmp_path / "fused", fused=True)
    change_json(tmp_path / "fused" / "config.json", **{"audio_config.fusion_type": None})
    encoder = read("transformers", tmp_path / "fused").model.config.audio_encoder
    assert isinstance(encoder, HtsatConfig)
    assert encoder.fused
    change_json(tmp_path / "fused" / "config.json", **{"audio_config.fusion_type": "channel_map"})
    with pytest.raises(CheckpointError, match="channel_map"):
        read("transformers", tmp_path / "fused")


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_directory_without_one_of_its_files_is_refused(copy: Path, file: str) -> None:
    (copy / file).unlink()
    with pytest.raises(CheckpointError, match=file):
        read("transformers", copy)


def test_a_folder_that_holds_something_is_not_written_over(released: tuple[Path, ClapModel], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("unfinished")
    with pytest.raises(CheckpointError, match="not empty"):
        read("transformers", released[0]).write(tmp_path / "out")


def in_two_files(folder: Path, kind: str) -> None:
    """The weights as save_pretrained writes those of a large model: `kind` is safetensors or bin."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem = "model" if kind == "safetensors" else "pytorch_model"
    keys = sorted(state)
    where: dict[str, str] = {}
    for number, part in enumerate((keys[::2], keys[1::2]), 1):
        name = f"{stem}-{number:05}-of-00002.{kind}"
        shard = {key: state[key] for key in part}
        if kind == "safetensors":
            save_file(shard, folder / name)
        else:
            torch.save(shard, folder / name)
        where |= dict.fromkeys(part, name)
    (folder / f"{stem}.{kind}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_weights_in_several_files_are_one_model(copy: Path, kind: str) -> None:
    whole = read("transformers", copy)
    in_two_files(copy, kind)
    parts = read("transformers", copy)
    assert len(parts.files) == 2
    for key, value in whole.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[key], value), key


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_part_that_is_absent_is_named(copy: Path, kind: str) -> None:
    in_two_files(copy, kind)
    next(copy.glob(f"*-00002-of-00002.{kind}")).unlink()
    with pytest.raises(CheckpointError, match=r"-00002-of-00002\.\w+ cannot be read: No such file"):
        read("transformers", copy)


@pytest.mark.parametrize(
    ("index", "complaint"),
    [
        ("not JSON", "is not an index of weights"),
        ("[]", "is not an index of weights"),
        ('{"weight_map": {}}', "names files that are not beside it"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "names files that are not beside it"),
        ('{"weight_map": {"a": 1}}', "names files that are not beside it"),
    ],
)
def test_an_index_that_makes_no_sense_is_refused(copy: Path, index: str, complaint: str) -> None:
    (copy / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=complaint):
        read("transformers", copy)


def test_half_precision_is_read(copy: Path) -> None:
    whole = read("transformers", copy).model.state_dict()
    state = load_file(copy / "model.safetensors")
    halved = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_file(halved, copy / "model.safetensors")
    for key, value in read("transformers", copy).model.state_dict().items():
        assert value.dtype == whole[key].dtype
        torch.testing.assert_close(value, whole[key], rtol=1e-3, atol=1e-6)
