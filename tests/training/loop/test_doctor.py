"""What `anysound train doctor` finds before a run."""

from __future__ import annotations

from pathlib import Path

import yaml
from typer.testing import CliRunner

from tests.training.recordings import tiny_recipe
from training.command import app
from training.recipe import Recipe


def examined(recipe: Recipe, folder: Path) -> tuple[int, list[str]]:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    arguments = ["doctor", str(folder / "recipe.yaml"), "--data", str(folder), "--out", str(folder / "run")]
    outcome = CliRunner().invoke(app, arguments)
    return outcome.exit_code, outcome.output.splitlines()


def test_a_run_that_can_start_is_found_good(tmp_path: Path) -> None:
    status, said = examined(tiny_recipe(tmp_path), tmp_path)
    assert status == 0
    assert [line.split(":")[0] for line in said] == [
        f"ok   {check}" for check in ("ranks", "network", "run's folder", "recipe", "data", "reading")
    ]
    assert "24 recordings with 24 captions" in said[4]
    assert not list((tmp_path / "run").glob("doctor-*"))


def test_each_fault_is_named_and_the_other_checks_are_made(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, start={"text": "nowhere"})
    for number in range(24):
        (tmp_path / f"{number}.wav").write_bytes(b"no audio")
    status, said = examined(recipe, tmp_path)
    assert status == 1
    failed = [line for line in said if line.startswith("FAIL")]
    assert "start.text: there is no" in failed[0]
    assert "24 of 24 recordings cannot be read" in failed[1]
    assert len(failed) == 2
