"""Recipes are checked whole before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkpoints import TINY
from tests.training.recordings import tiny_recipe
from training.recipe import RECIPES, RecipeError, read_recipe
from training.start.start import check_paths

OWN = sorted(path.name for path in RECIPES.glob("*.yaml") if "data:" in path.read_text())


@pytest.mark.parametrize("name", OWN)
def test_the_recipes_that_come_with_the_project_are_sound(name: str) -> None:
    recipe = read_recipe(RECIPES / name, start="bundled" if name == "fine-tune.yaml" else None)
    assert recipe.checkpoint.name


def written(folder: Path, **members: Any) -> Path:
    content = tiny_recipe(folder).model_dump(mode="json") | members
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"epoch": 3}, r"recipe\.yaml: epoch: Extra inputs"),
        ({"optimiser": {"lr": 1}}, r"optimiser\.lr"),
        ({"epochs": 0}, "epochs"),
        ({"data": []}, "data"),
        ({"data": [{"kind": "csv", "path": "x"}]}, r"data\.0"),
        ({"batch": 10, "accumulation": 4}, "equal chunks"),
        ({"start": {}}, "start.text is needed"),
        ({"validation": {"tasks": ["esc50"]}}, "tasks_path"),
        ({"schedule": {"kind": "steps"}}, "schedule"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, members: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(written(tmp_path, **members))


def test_a_recipe_of_the_project_is_found_by_its_name() -> None:
    assert read_recipe(Path("paper.yaml")) == read_recipe(RECIPES / "paper.yaml")


def test_a_recipe_that_is_not_there_or_not_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(RecipeError, match="not YAML"):
        read_recipe(tmp_path / "bad.yaml")


def test_both_spellings_of_optimiser_are_read(tmp_path: Path) -> None:
    content = yaml.safe_load(written(tmp_path).read_text())
    content["optimizer"] = content.pop("optimiser") | {"learning_rate": 0.5}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    assert read_recipe(tmp_path / "recipe.yaml").optimiser.learning_rate == 0.5
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content | {"optimiser": {}}))
    with pytest.raises(RecipeError, match="optimizer: Extra inputs"):
        read_recipe(tmp_path / "recipe.yaml")


def test_a_missing_path_is_named_before_anything_is_read(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, data=[{"kind": "shards", "path": "nowhere"}])
    with pytest.raises(RecipeError, match=r"data\.0\.path: there is no .*nowhere"):
        recipe.check(tmp_path, 1)


def test_a_head_without_the_names_of_its_classes_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    mlp = {"kind": "mlp", "activation": "hardswish"}
    content = TINY.model_dump() | {"audio_projection": mlp, "text_projection": mlp}
    start = {"text": "vocabulary", "audio": "tagger.pt", "head": {}}
    recipe = tiny_recipe(tmp_path, checkpoint=content, start=start)
    (tmp_path / "tagger.pt").touch()
    with pytest.raises(RecipeError, match=r"start\.head: there is no .*audioset_class_labels\.csv"):
        check_paths(recipe, tmp_path)


def test_ranks_that_cannot_share_a_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be shared equally by 3 ranks"):
        tiny_recipe(tmp_path).check(tmp_path, 3)
