"""A run's figures in Weights & Biases, without a network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.training.recordings import tiny_recipe
from training.loop.run import train
from training.recipe import RecipeError


# wandb's own process is started, which takes long on a busy machine.
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore")
def test_the_figures_of_a_run_are_logged(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, epochs=1, wandb={"project": "sounds", "mode": "offline"})
    assert train(recipe, tmp_path, tmp_path / "run").finished
    [log] = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    written = log.read_bytes()
    assert b"train/loss" in written
    assert b"learning_rate" in written


def test_without_the_package_the_command_that_installs_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RecipeError, match=r"pip install 'anysound\[wandb\]'"):
        train(tiny_recipe(tmp_path, wandb={"project": "sounds"}), tmp_path, tmp_path / "run")
