"""A whole run: the files it leaves, and its end when it cannot go on."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from evaluation.tasks import TASKS
from evaluation.zero_shot import evaluate
from model.checkpoint import load
from tests.training.recordings import tiny_recipe, write_tasks
from training.data.manifest import ManifestError
from training.loop.run import train
from training.loop.stop import TrainingStopped
from training.recipe import RecipeError
from training.start.start import build


def test_a_run_leaves_a_checkpoint_that_loads_and_evaluates(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "eval")
    recipe = tiny_recipe(
        tmp_path, 40, validation={"hold_out": 0.2, "tasks": ["gtzan-music-speech"], "tasks_path": "eval"}
    )
    outcome = train(recipe, tmp_path, tmp_path / "run")
    assert outcome.finished
    checkpoint = load(tmp_path / "run" / "best")
    result = evaluate(checkpoint, TASKS["gtzan-music-speech"].open(tasks))
    assert result.figure == outcome.best == checkpoint.config.training["zero_shot"]["gtzan-music-speech"]  # type: ignore[index]
    assert "zero-shot gtzan-music-speech" in (tmp_path / "run" / "best" / "README.md").read_text()


def test_a_run_shows_every_step_and_epoch(tmp_path: Path) -> None:
    train(tiny_recipe(tmp_path, 40, validation={"hold_out": 0.2}), tmp_path, tmp_path / "run")
    steps = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    epochs = [json.loads(line) for line in (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps] == list(range(len(steps)))
    assert {"loss", "temperature", "clips_per_s", "audio_s", "gradient_norm", "learning_rate"} < steps[0].keys()
    assert [row["epoch"] for row in epochs] == [0, 1]
    assert epochs[0]["training_loss"] == pytest.approx(np.mean([row["loss"] for row in steps[: len(steps) // 2]]))
    assert 0 <= epochs[0]["recalls"]["text_to_audio_r1"] <= epochs[0]["recalls"]["text_to_audio_r10"] <= 1
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_the_loss_falls(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, epochs=6, optimiser={"learning_rate": 0.005})
    train(recipe, tmp_path, tmp_path / "run")
    losses = [
        json.loads(line)["training_loss"] for line in (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()
    ]
    assert np.mean(losses[-3:]) < losses[0]


def test_a_broken_file_is_logged_once_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = tiny_recipe(tmp_path)
    (tmp_path / "5.wav").write_bytes(b"RIFF")
    with caplog.at_level(logging.WARNING):
        assert train(recipe, tmp_path, tmp_path / "run").finished
    assert len([record for record in caplog.records if "5.wav" in record.getMessage()]) == 1
    last = json.loads((tmp_path / "run" / "steps.jsonl").read_text().splitlines()[-1])
    assert last["broken"] == 1


def test_too_many_broken_files_stop_the_run(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, 40)
    for number in range(0, 40, 3):
        (tmp_path / f"{number}.wav").write_bytes(b"not audio")
    with pytest.raises(TrainingStopped, match=r"cannot be read, more than the share of 0\.05.*\.wav: "):
        train(recipe, tmp_path, tmp_path / "run")


def test_a_clip_of_nan_is_a_broken_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = tiny_recipe(tmp_path)
    soundfile.write(tmp_path / "2.wav", np.full(12_000, np.nan, np.float32), 8_000, subtype="FLOAT")
    assert train(recipe, tmp_path, tmp_path / "run").finished
    assert "2.wav: The segment has samples that are NaN" in caplog.text


def test_a_loss_that_is_not_finite_is_named(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, optimiser={"learning_rate": 1e30})
    with pytest.raises(
        TrainingStopped, match=r"(loss is nan|norm is \w+) at step \d+ of epoch \d+; not finite: the audio"
    ):
        train(recipe, tmp_path, tmp_path / "run")


def test_too_little_data_is_an_error_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="6 pairs to train on do not fill one batch of 8"):
        train(tiny_recipe(tmp_path, 6), tmp_path, tmp_path / "run")


def test_an_unknown_task_is_an_error_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    for task, message in (("esc-50", "unknown task esc-50"), ("esc50", "does not hold ESC-50")):
        recipe = tiny_recipe(tmp_path, validation={"tasks": [task], "tasks_path": "eval"})
        with pytest.raises(RecipeError, match=message):
            train(recipe, tmp_path, tmp_path / "run")


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bfloat16", "activation_checkpointing": True, "accumulation": 2},
        {"optimiser": {"kind": "adamw", "weight_decay": 0.1, "text": 0.1}, "schedule": {"kind": "cosine"}},
        {
            "freeze": {"audio": True, "text": True},
            "clip_gradient": 0.1,
            "saving": {"every_steps": 1, "keep": 1},
            "validation": {"hold_out": 0.1, "every_steps": 1},
        },
    ],
    ids=["arithmetic", "optimiser", "frozen"],
)
def test_every_option_trains(tmp_path: Path, options: dict[str, Any]) -> None:
    recipe = tiny_recipe(tmp_path, epochs=1, **options)
    assert train(recipe, tmp_path, tmp_path / "run").finished
    before, after = build(recipe, tmp_path)[0].state_dict(), load(tmp_path / "run" / "last").model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "logit_scale" in moved
    frozen = recipe.freeze.audio
    assert any(name.startswith("audio_encoder.base.features") for name in moved) != frozen, "statistics included"
    assert any(name.startswith("caption_encoder.base.encoder") for name in moved) != frozen
