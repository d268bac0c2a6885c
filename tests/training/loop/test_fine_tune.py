"""Fine-tuning a checkpoint: the model comes from it, what is frozen stays, and the result keeps what the start knew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from model.checkpoint import load, read_config
from tests.training.recordings import RATE, WORDS, write_recordings, write_tasks
from training.command import app
from training.loop.layers import depths
from training.loop.optimiser import make_optimiser
from training.loop.run import train
from training.loop.towers import Towers
from training.recipe import RECIPES, Optimiser, RecipeError, read_recipe
from training.start.start import check_paths

# Runs with validation take long on a busy machine.
pytestmark = pytest.mark.timeout(400)

FINE_TUNE = RECIPES / "fine-tune.yaml"


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of four labels, with ten recordings in each."""
    folder = tmp_path_factory.mktemp("mine")
    write_recordings(folder / "all", 40)
    for number in range(40):
        place = folder / "mine" / WORDS[number % len(WORDS)]
        place.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / "all" / f"{number}.wav", place / f"{number}.wav")
    return folder / "mine"


def written(folder: Path, **members: Any) -> Path:
    """The project's recipe, cut down to small batches."""
    content = yaml.safe_load(FINE_TUNE.read_text()) | {"epochs": 3, "batch": 8, "loading": {"workers": 0}} | members
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_one_command_trains_and_prints_before_and_after(mine: Path, tiny_folder: Path, tmp_path: Path) -> None:
    arguments = ["run", str(written(tmp_path, mix=[0.5, 1.0])), "--data", str(mine), "--start", str(tiny_folder)]
    reference = write_tasks(tmp_path / "eval")
    outcome = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "run"), "--reference", str(reference)])
    assert outcome.exit_code == 0, outcome.output
    said = " ".join(outcome.output.split())
    assert "held-out recordings 12 " in said
    assert "GTZAN" in said
    result, start = load(tmp_path / "run" / "best"), load(tiny_folder)
    assert result.config.front_end == start.config.front_end
    assert result.config.front_end.sample_rate == RATE
    assert result.config.training["start"] == str(tiny_folder.resolve())
    assert result.config.training["mixed"] in (0.0, 0.5, 1.0)
    changed = {
        name
        for name, value in result.model.state_dict().items()
        if not torch.equal(value, start.model.state_dict()[name])
    }
    frozen = ("caption_encoder", "logit_scale")
    assert not any(name.startswith(frozen) or "running" in name for name in changed)
    assert bool(changed) == (result.config.training["mixed"] > 0)


def test_a_stopped_run_resumes_into_its_final_average(mine: Path, tiny_folder: Path, tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, mix=[0.5]), mine, str(tiny_folder))
    assert not train(recipe, mine, tmp_path / "run", stop_after=4).finished
    first = train(recipe, mine, tmp_path / "run")
    again = train(recipe, mine, tmp_path / "run")
    assert first.finished
    assert first == again
    assert first.mixed in (0.0, 0.5)
    assert set(first.before) == set(first.after) == {"held-out"}


def test_training_ends_when_patience_does(mine: Path, tiny_folder: Path, tmp_path: Path) -> None:
    recipe = read_recipe(
        written(tmp_path, epochs=30, patience=2, mix=[], optimiser={"learning_rate": 1e-12}), mine, str(tiny_folder)
    )
    train(recipe, mine, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()]
    assert len(rows) == 3


def test_the_config_of_the_start_is_the_recipe_s(tiny_folder: Path, tmp_path: Path) -> None:
    recipe = read_recipe(FINE_TUNE, tmp_path, str(tiny_folder))
    assert recipe.checkpoint == read_config(tiny_folder)
    assert read_recipe(FINE_TUNE, tmp_path, "bundled").checkpoint.front_end.sample_rate == 32_000


def test_a_recipe_with_another_front_end_than_the_start_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    config = read_config(tiny_folder).model_dump(mode="json")
    config["front_end"]["sample_rate"] = 44_100
    config["name"] = "another name"
    recipe = read_recipe(written(tmp_path, checkpoint=config), tmp_path, str(tiny_folder))
    with pytest.raises(
        RecipeError, match=r"checkpoint\.front_end\.sample_rate is 44100, but 8000 in start\.checkpoint"
    ):
        check_paths(recipe, tmp_path)


def test_a_start_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"start\.checkpoint: .* is not a checkpoint"):
        read_recipe(FINE_TUNE, tmp_path, str(tmp_path))


@pytest.mark.parametrize("kind", ["mobilenet", "bert"])
def test_rates_fall_from_layer_to_layer(tiny_folder: Path, kind: str) -> None:
    towers = Towers(load(tiny_folder).model.requires_grad_(True))
    optimiser = make_optimiser(towers, Optimiser(layer_decay=0.5, audio=0.1, weight_decay=0.1, decay_all=False))
    of = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    base, top = (
        (towers.clap.audio_encoder.base, 0.1) if kind == "mobilenet" else (towers.clap.caption_encoder.base, 1.0)
    )
    depth = depths(base)
    deepest = max(depth.values())
    for name, parameter in base.named_parameters():
        if parameter.requires_grad:
            group = of[id(parameter)]
            assert group["multiple"] == pytest.approx(top * 0.5 ** (deepest - depth[name]))
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)
    first, last = {
        "mobilenet": ("features.0.0.weight", "features.16.0.weight"),
        "bert": ("embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.weight"),
    }[kind]
    assert depth[first] == 0
    assert depth[last] == (deepest if kind == "mobilenet" else 1)
    assert of[id(towers.clap.logit_scale)]["multiple"] == 1.0
