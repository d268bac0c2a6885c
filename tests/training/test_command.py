"""The `anysound train` commands report an error in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.training.recordings import tiny_recipe
from training.command import app

ROOT = Path(__file__).parents[2]


def invoke(folder: Path, *arguments: str, **members: Any) -> tuple[int, str]:
    recipe = tiny_recipe(folder, **members)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    outcome = CliRunner().invoke(
        app, ["run", str(folder / "recipe.yaml"), "--data", str(folder), "--out", str(folder / "run"), *arguments]
    )
    return outcome.exit_code, " ".join(outcome.output.split())


def test_a_run_prints_where_its_best_checkpoint_is(tmp_path: Path) -> None:
    code, said = invoke(tmp_path, epochs=1)
    assert code == 0
    assert said.endswith(str(tmp_path / "run" / "best"))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"data": [{"kind": "manifest", "path": "none.jsonl"}]}, "there is no"),
        ({"batch": 64}, "do not fill one batch of 64"),
        ({"start": {"text": "vocabulary"}}, "model.safetensors cannot be read"),
        ({"start": {"text": "vocabulary", "text_weights": False, "audio": "0.wav"}}, "0.wav cannot be read"),
    ],
)
def test_what_is_wrong_is_said_with_status_2(tmp_path: Path, members: dict[str, Any], message: str) -> None:
    code, said = invoke(tmp_path, **members)
    assert code == 2
    assert message in said


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, said = invoke(tmp_path, "--device", "gpu")
    assert code == 2
    assert "unknown device gpu" in said


def test_a_manifest_becomes_shards(tmp_path: Path) -> None:
    tiny_recipe(tmp_path)
    outcome = CliRunner().invoke(app, ["shards", str(tmp_path / "manifest.jsonl"), "--out", str(tmp_path / "shards")])
    assert outcome.output == "24 recordings packed, 0 left out\n"
    again = CliRunner().invoke(app, ["shards", str(tmp_path / "manifest.jsonl"), "--out", str(tmp_path / "shards")])
    assert again.exit_code == 2
    assert "holds shards already" in again.output


def test_without_the_extra_the_command_that_installs_it_is_said(tmp_path: Path) -> None:
    script = (
        "import sys\nsys.modules['tensorboardX'] = None\nfrom training.command import app\n"
        f"app(['run', 'none.yaml', '--out', {str(tmp_path)!r}])"
    )
    run = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(run, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "training needs tensorboardX: pip install 'anysound[train]'\n"
