"""Projections that begin with a tagger's class head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from model.clap import Clap, MlpProjection
from model.mobilenet import MobileNet
from tests.checkpoints import TINY
from tests.training.recordings import tiny_recipe
from training.data.corpus import read_corpus
from training.data.loader import Segments
from training.loop.run import train
from training.recipe import Head, Recipe, RecipeError
from training.start.head import encode_recordings, start_from_head
from training.start.start import build
from training.tagging.phrases import KINDS, PHRASES
from training.tagging.space import caption_weights

HIDDEN = 128


def class_names() -> list[str]:
    """Those the phrases and the everyday kinds speak of."""
    rows = yaml.safe_load(PHRASES.read_text(encoding="utf-8"))
    kinds = yaml.safe_load(KINDS.read_text(encoding="utf-8"))
    return sorted({*rows["generic"], *rows["phrases"], *(name for kind in kinds for name in kind["heard"])})


def write_tagger(folder: Path) -> Path:
    """A small untrained tagger's weights with the names of its classes beside them."""
    names = class_names()
    torch.manual_seed(0)
    encoder = TINY.audio_encoder.model_copy(update={"classes": len(names)})
    base = Clap(TINY.model_copy(update={"audio_encoder": encoder})).audio_encoder.base
    assert isinstance(base, MobileNet)
    assert base.classifier is not None
    for layer in base.classifier:
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight)
    torch.save(base.state_dict(), folder / "tagger.pt")
    quoted = "".join(f'{number},m{number},"{name}"\n' for number, name in enumerate(names))
    (folder / "audioset_class_labels.csv").write_text(f"index,mid,display_name\n{quoted}")
    return folder / "tagger.pt"


def recipe_of(folder: Path, **checkpoint: Any) -> Recipe:
    audio, text = ({"kind": "mlp", "activation": name} for name in ("hardswish", "gelu"))
    projections = {"audio_projection": audio, "text_projection": text, "joint_dim": HIDDEN}
    content = TINY.model_dump() | projections | checkpoint
    start = {"text": "vocabulary", "text_weights": False, "audio": "tagger.pt", "head": {"recordings": 12, "steps": 60}}
    return tiny_recipe(folder, checkpoint=content, start=start, freeze={"audio": True, "text": True})


def test_projections_begin_with_the_head(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    weights = write_tagger(tmp_path)
    clap, tokenizer = build(recipe, tmp_path)
    segments = Segments(read_corpus(recipe, tmp_path).training, recipe.checkpoint.front_end, recipe.seed)
    start_from_head(clap, tokenizer, weights, segments, Head(recordings=12, steps=60), seed=0)
    projection = clap.audio_encoder.projection
    assert isinstance(projection, MlpProjection)
    head = torch.load(weights, weights_only=True)
    assert torch.equal(projection.linear1.weight, head["classifier.2.weight"])
    features, captions = encode_recordings(clap.audio_encoder.base, segments, 12)
    assert features.shape == (12, clap.audio_encoder.base.embedding_dim)
    torch.testing.assert_close(caption_weights(captions) @ projection(features), torch.zeros(HIDDEN), atol=1e-3, rtol=0)


def test_two_runs_begin_with_the_same_head_and_one_that_goes_on_does_not_listen_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tmp_path)
    write_tagger(tmp_path)
    assert train(recipe, tmp_path, tmp_path / "unbroken").finished
    assert not train(recipe, tmp_path, tmp_path / "stopped", stop_after=2).finished

    def listened(*_: object) -> None:
        raise AssertionError("the recordings were listened to again")

    monkeypatch.setattr("training.start.head.encode_recordings", listened)
    assert train(recipe, tmp_path, tmp_path / "stopped").finished
    one, two = ((tmp_path / run / "best" / "model.safetensors").read_bytes() for run in ("unbroken", "stopped"))
    assert one == two


def test_a_head_that_does_not_fit_is_named(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, joint_dim=16)
    write_tagger(tmp_path)
    with pytest.raises(RecipeError, match="joint_dim must be 128"):
        train(recipe, tmp_path, tmp_path / "run")
    weights = tmp_path / "tagger.pt"
    state = torch.load(weights, weights_only=True)
    torch.save({key: value for key, value in state.items() if not key.startswith("classifier.")}, weights)
    with pytest.raises(RecipeError, match="no class head"):
        train(recipe_of(tmp_path), tmp_path, tmp_path / "run")


@pytest.mark.parametrize(
    ("checkpoint", "start"),
    [
        ({"audio_projection": {"kind": "linear"}}, {"audio": "tagger.pt", "head": {}}),
        ({"audio_projection": {"kind": "mlp", "activation": "hardswish"}}, {"head": {}}),
    ],
)
def test_a_recipe_in_which_the_head_has_no_place_is_refused(
    tmp_path: Path, checkpoint: dict[str, Any], start: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"start\.head needs"):
        tiny_recipe(tmp_path, checkpoint=TINY.model_dump() | checkpoint, start={"text": "vocabulary"} | start)
