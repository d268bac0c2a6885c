"""Options that the paper's recipe does not have: each does what it says."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from model.checkpoint import load
from tests.checkpoints import TINY
from tests.training.recordings import tiny_recipe
from training.data.loader import Segments
from training.data.manifest import Captioned, read_manifest
from training.data.sampler import Batches, Draw, epoch_order
from training.loop.metrics import MetricsLog, StepMetrics
from training.loop.run import train
from training.loop.state import States

# Runs take long on a busy machine.
pytestmark = pytest.mark.timeout(400)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    """Two epochs of three steps, with the state of every step kept."""
    recipe = tiny_recipe(folder, saving={"every_steps": 1, "keep": 9})
    assert train(recipe, folder, folder / "plain").step == 6
    return folder / "plain"


def test_an_epoch_of_so_many_steps_trains_on_the_same_batches(folder: Path, plain: Path) -> None:
    recipe = tiny_recipe(folder, epochs=3, epoch_steps=2)
    assert train(recipe, folder, folder / "virtual").step == 6
    losses = [[row["loss"] for row in rows(run / "steps.jsonl")] for run in (folder / "virtual", plain)]
    assert losses[0] == losses[1]
    assert [row["step"] for row in rows(folder / "virtual" / "epochs.jsonl")] == [2, 4, 6]


def test_the_moving_average_is_published_and_its_run_resumes(folder: Path, plain: Path) -> None:
    recipe = tiny_recipe(folder, ema=0.5)
    train(recipe, folder, folder / "ema", stop_after=4)
    assert train(recipe, folder, folder / "ema").finished
    name = "audio_encoder.projection.linear.weight"
    steps = [States(plain / "states", 9).read(step)["model"][name] for step in range(1, 7)]
    published = load(folder / "ema" / "last").model.state_dict()[name]
    start = load_start(folder)[name]
    average = start
    for number, weights in enumerate(steps, 1):
        kept = min(0.5, number / (number + 10))
        average = torch.lerp(average, weights, 1 - kept)
    torch.testing.assert_close(published, average)
    assert not torch.equal(published, steps[-1])


def load_start(folder: Path) -> dict[str, torch.Tensor]:
    from training.start.start import build

    return build(tiny_recipe(folder), folder)[0].state_dict()


def test_validation_within_an_epoch_is_logged_and_may_be_the_best(folder: Path) -> None:
    recipe = tiny_recipe(folder, epochs=2, validation={"hold_out": 0.3, "every_steps": 1}, batch=4)
    run = folder / "between"
    train(recipe, folder, run, stop_after=3)
    assert train(recipe, folder, run).finished
    epochs, between = rows(run / "epochs.jsonl"), rows(run / "validations.jsonl")
    steps = epochs[-1]["step"]
    assert sorted([row["step"] for row in [*epochs, *between]]) == list(range(1, steps + 1))
    best = max([*epochs, *between], key=lambda row: row["score"])
    assert load(run / "best").config.training["steps"] == best["step"]


def test_a_source_is_drawn_as_often_as_its_weight_says() -> None:
    weights = np.array([1.0] * 10 + [2.5] * 4 + [0.5] * 4)
    shards = np.repeat([0, 1, 2], 6)
    for of_shards in (None, shards):
        first, second = (epoch_order(18, 0, epoch, of_shards, weights) for epoch in range(2))
        for order in (first, second):
            counts = np.bincount(order, minlength=18)
            assert (counts[:10] == 1).all()
            assert sorted(counts[10:14]) == [2, 2, 3, 3]
            assert sorted(counts[14:]) == [0, 0, 1, 1]
        assert first.tolist() != second.tolist()
    assert Batches(18, 11, 1, 0, weights=weights).steps_per_epoch == 2


def test_a_caption_is_drawn_anew_in_every_epoch(folder: Path) -> None:
    first = read_manifest(folder / "manifest.jsonl")[0]
    clips = [Captioned(first.audio, ("one", "two", "three"))]
    segments = Segments(clips, TINY.front_end, seed=0, drawn=True)
    assert len(segments) == 1
    drawn = [segments[Draw(epoch, 0)].caption for epoch in range(12)]
    assert set(drawn) == {"one", "two", "three"}
    assert drawn == [segments[Draw(epoch, 0)].caption for epoch in range(12)]


def test_the_sigmoid_loss_trains_its_bias_and_resumes(folder: Path) -> None:
    recipe = tiny_recipe(folder, loss="sigmoid", epochs=1)
    train(recipe, folder, folder / "sigmoid", stop_after=1)
    assert train(recipe, folder, folder / "sigmoid").finished
    train(recipe, folder, folder / "sigmoid-2")
    one, two = (States(folder / name / "states", 2).read(3)["bias"]["value"] for name in ("sigmoid", "sigmoid-2"))
    assert one == two
    assert one != -10


def test_without_a_terminal_a_line_is_printed_each_interval(tmp_path: Path) -> None:
    said = io.StringIO()
    log = MetricsLog(tmp_path, 10, 0, 0, Console(file=said, width=200))
    for step in range(3):
        log.step(StepMetrics(step, 0, 2.0, 0.07, 1e-3, 1.0, 0.5, 30.0, 60.0, 0.0, 0))
    log.close()
    assert said.getvalue().splitlines() == [
        "step 1 of 10, epoch 0: loss 2.000  30 clips/s  temperature 0.0700  60 s of audio"
    ]


# torch 2.11's compiler imports torch.utils.mkldnn, which still defines its classes with torch.jit.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
# Where the front end interrupts the graph, the compiler asks intermediate tensors for their gradients.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.slow
def test_compiled_encoders_give_the_same_losses(folder: Path) -> None:
    # Compiled dropout draws other masks, so there is none.
    still = TINY.model_dump()
    still["text_encoder"]["architecture"] |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    for name in ("eager", "compiled"):
        train(tiny_recipe(folder, checkpoint=still, epochs=1, compile=name == "compiled"), folder, folder / name)
    losses = [[row["loss"] for row in rows(folder / name / "steps.jsonl")] for name in ("compiled", "eager")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
