"""Stopping and going on: the same losses, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.training.recordings import tiny_recipe, write_tasks
from training.loop.ranks import Ranks
from training.loop.run import Trainer, train
from training.loop.state import StateError, States
from training.loop.stop import Stop
from training.recipe import Recipe

# Each process imports torch, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[3]


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "steps.jsonl").read_text().splitlines()]


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = States(run / "states", 9).read(step)["model"]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    """Everything that has a state is on: dropout, batch norm, plateau, a warm-up, chunks, validation, tasks."""
    write_tasks(folder / "eval")
    return tiny_recipe(
        folder,
        40,
        accumulation=2,
        validation={"hold_out": 0.2, "tasks": ["gtzan-music-speech"], "tasks_path": "eval"},
        schedule={"kind": "plateau", "patience": 0, "warm_up_steps": 3},
        clip_gradient=1.0,
    )


@pytest.fixture(scope="module")
def unbroken(recipe: Recipe, folder: Path) -> Path:
    assert train(recipe, folder, folder / "unbroken").finished
    return folder / "unbroken"


# In the warm-up, at the end of an epoch, and within the second one.
@pytest.mark.parametrize("stop", [1, 4, 6])
def test_a_run_stopped_at_any_step_goes_on_to_the_same_losses_and_weights(
    recipe: Recipe, folder: Path, unbroken: Path, stop: int
) -> None:
    run = folder / f"stopped-{stop}"
    first = train(recipe, folder, run, stop_after=stop)
    assert (first.step, first.finished) == (stop, False)
    second = train(recipe, folder, run)
    assert second.finished
    assert losses(run) == losses(unbroken)
    expected = weights(unbroken, second.step)
    assert all(torch.equal(value, expected[name]) for name, value in weights(run, second.step).items())
    epochs = [(path / "epochs.jsonl").read_text() for path in (run, unbroken)]
    assert epochs[0] == epochs[1]


def test_a_signal_during_validation_ends_the_run_with_its_epoch_kept(
    recipe: Recipe, folder: Path, unbroken: Path
) -> None:
    run = folder / "validating"
    trainer = Trainer(recipe, folder, run, Ranks())

    class DuringValidation(Stop):
        @property
        def wanted(self) -> bool:  # type: ignore[override]
            return trainer.epoch_to_validate

    first = trainer.train(DuringValidation(), None)
    assert (first.step, first.finished) == (trainer.steps_per_epoch, False)
    assert States(run / "states", 2).steps() == [first.step]
    assert not (run / "best").exists()
    second = train(recipe, folder, run)
    assert second.finished
    expected = weights(unbroken, second.step)
    assert all(torch.equal(value, expected[name]) for name, value in weights(run, second.step).items())
    assert (run / "epochs.jsonl").read_text() == (unbroken / "epochs.jsonl").read_text()


def test_a_finished_run_has_nothing_left_to_do(recipe: Recipe, folder: Path, unbroken: Path) -> None:
    before = losses(unbroken)
    assert train(recipe, folder, unbroken).finished
    assert losses(unbroken) == before


def test_another_recipe_is_refused_and_the_change_named(recipe: Recipe, folder: Path, unbroken: Path) -> None:
    changed = recipe.model_copy(update={"epochs": 3, "batch": 4})
    with pytest.raises(StateError, match=r"another recipe \(epochs: 2, now 3, batch: 8, now 4\)"):
        train(changed, folder, unbroken)


def test_logging_loading_and_saving_may_change(recipe: Recipe, folder: Path, unbroken: Path) -> None:
    changed = Recipe.model_validate(
        recipe.model_dump()
        | {"wandb": {"project": "sounds"}, "loading": {"workers": 1, "prefetch": 1}, "saving": {"every_steps": 1}}
    )
    assert Trainer(changed, folder, unbroken, Ranks()).finished
    other = changed.model_copy(update={"loading": changed.loading.model_copy(update={"max_broken": 0.5})})
    with pytest.raises(StateError, match=r"another recipe \(loading\.max_broken: 0\.05, now 0\.5\)"):
        Trainer(other, folder, unbroken, Ranks())


def test_other_data_is_refused(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    train(recipe, tmp_path, tmp_path / "run", stop_after=1)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace("a dog", "a wolf"))
    with pytest.raises(StateError, match="not what the run"):
        train(recipe, tmp_path, tmp_path / "run")


def test_a_state_cut_short_costs_only_the_steps_since_the_one_before(
    recipe: Recipe, folder: Path, unbroken: Path
) -> None:
    recipe = recipe.model_copy(update={"saving": recipe.saving.model_copy(update={"every_steps": 1})})
    run = folder / "cut"
    train(recipe, folder, run, stop_after=3)
    with (run / "states" / "step-00000003.pt").open("r+b") as file:
        file.truncate(1_000)
    assert train(recipe, folder, run).finished
    assert losses(run) == losses(unbroken)


def command(folder: Path, run: Path) -> list[str]:
    recipe = str(folder / "recipe.yaml")
    return [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "anysound",
        "train",
        "run",
        recipe,
        "--data",
        str(folder),
        "--out",
        str(run),
    ]


def until(condition: Any, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.returncode
        assert time.monotonic() < end
        time.sleep(0.05)


def test_sigterm_saves_and_ends_cleanly(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, epochs=200)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    run = tmp_path / "run"
    with subprocess.Popen(command(tmp_path, run), cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        until(lambda: (run / "steps.jsonl").exists() and len(losses(run)) > 2, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    [step] = States(run / "states", 2).steps()[-1:]
    assert step == len(losses(run))
    again = train(recipe, tmp_path, run, stop_after=step + 1)
    assert again.step == step + 1
