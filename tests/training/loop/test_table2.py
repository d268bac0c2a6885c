"""The table of frozen encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.training.recordings import tiny_recipe, write_tasks
from training.command import app
from training.loop.ranks import Ranks
from training.loop.table2 import spread, table2
from training.recipe import RecipeError


def test_four_rows_are_trained_and_printed(tmp_path: Path) -> None:
    write_tasks(tmp_path / "eval")
    recipe = tiny_recipe(tmp_path, 8, epochs=1, validation={"tasks": ["gtzan-music-speech"], "tasks_path": "eval"})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    command = ["table2", str(tmp_path / "recipe.yaml"), "--data", str(tmp_path), "--out", str(tmp_path / "runs")]
    outcome = CliRunner().invoke(app, [*command, "--seeds", "2"])
    assert outcome.exit_code == 0, outcome.output
    rows = [line.split() for line in outcome.output.splitlines() if "frozen" in line or "trained" in line]
    assert [row[:2] for row in rows[-4:]] == [
        ["trained", "trained"],
        ["trained", "frozen"],
        ["frozen", "trained"],
        ["frozen", "frozen"],
    ]
    assert all("±" in row for row in rows[-4:])
    assert len(list((tmp_path / "runs").iterdir())) == 8


def test_a_recipe_without_tasks_has_no_table(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="at least one task"):
        list(table2(tiny_recipe(tmp_path), tmp_path, tmp_path / "runs", [0], Ranks()))


def test_the_spread_is_the_sample_standard_deviation() -> None:
    assert spread([0.5]) == "0.500"
    assert spread([0.1, 0.2, 0.3]) == "0.200 ± 0.100"
