"""A model divided among ranks: the same run as with whole models, at half the memory on two ranks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from model.checkpoint import load
from tests.training.recordings import tiny_recipe
from tests.training.sharded import recipe
from training.loop.run import train
from training.loop.state import States

# Each process imports torch, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[3]
WORLD = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of `tests.training.sharded` on two ranks."""
    folder = tmp_path_factory.mktemp("sharded")
    recipe(folder)
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.sharded", str(folder)]
    environment = os.environ | {"WORLD_SIZE": str(WORLD), "OMP_NUM_THREADS": "1"}
    ranks = [subprocess.Popen(command, cwd=ROOT, env=environment | {"RANK": str(rank)}) for rank in range(WORLD)]
    assert [rank.wait(300) for rank in ranks] == [0] * WORLD
    return folder


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "steps.jsonl").read_text().splitlines()]


def test_losses_and_the_checkpoint_are_those_of_whole_models(folder: Path) -> None:
    assert losses(folder / "sharded") == pytest.approx(losses(folder / "replicated"), rel=1e-4)
    ours, theirs = (load(folder / run / "last") for run in ("sharded", "replicated"))
    assert ours.config.model_copy(update={"training": {}}) == theirs.config.model_copy(update={"training": {}})
    expected = theirs.model.state_dict()
    for name, value in ours.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_rank_holds_half_of_the_weights_and_of_the_optimiser_s_state(folder: Path) -> None:
    of_rank = [json.loads((folder / f"held-{rank}.json").read_text()) for rank in range(WORLD)]
    for part in ("weights", "average", "optimiser"):
        whole = of_rank[0]["replicated"][part]
        assert sum(held["sharded"][part] for held in of_rank) == whole
        assert max(held["sharded"][part] for held in of_rank) == pytest.approx(whole / WORLD, rel=0.02)
    assert all(held["sharded"]["validated"] == 0 for held in of_rank), "all weights are there for validation only"


def test_a_stopped_run_resumes_to_the_same_losses_and_weights(folder: Path) -> None:
    assert losses(folder / "stopped") == losses(folder / "sharded")
    one, two = (load(folder / run / "last").model.state_dict() for run in ("stopped", "sharded"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_its_state_is_that_of_whole_models_and_a_run_may_go_on_without_sharding(folder: Path) -> None:
    ours, theirs = (States(folder / run / "states", 2).read(2) for run in ("sharded", "replicated"))
    assert shapes(ours) == shapes(theirs)
    for name, value in ours["model"].items():
        torch.testing.assert_close(value, theirs["model"][name], rtol=1e-3, atol=1e-4, msg=name)
    shutil.copytree(folder / "sharded", folder / "alone")
    (folder / "alone" / "states" / "step-00000004.pt").unlink()
    assert train(recipe(folder), folder, folder / "alone", stop_after=3).step == 3


def shapes(state: object) -> object:
    """The members of a state with the shapes of its tensors, without the recipe and what it says of the run."""
    if isinstance(state, dict):
        return {name: shapes(value) for name, value in state.items() if name != "recipe"}
    if isinstance(state, list):
        return [shapes(value) for value in state]
    return tuple(state.shape) if isinstance(state, torch.Tensor) else type(state)


def test_options_that_do_not_go_with_it_are_refused(tmp_path: Path) -> None:
    for option in ({"compile": True}, {"precision": "float16"}):
        with pytest.raises(ValidationError, match="fully_shard"):
            tiny_recipe(tmp_path, fully_shard=True, **option)
