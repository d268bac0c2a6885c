"""Whole runs on several ranks, as torchrun starts them: no rank waits for ever, whatever happens to one."""

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

from model.checkpoint import load
from tests.checkpoints import TINY
from tests.training.recordings import tiny_recipe
from tests.training.start.test_head import recipe_of, write_tagger
from training.data.manifest import read_manifest
from training.data.shards import write_shards
from training.loop.run import train
from training.loop.state import States
from training.recipe import Recipe

ROOT = Path(__file__).parents[3]

# Each process imports torch, which takes long on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def torchrun(recipe: Recipe, folder: Path, ranks: int = 2, *options: str) -> subprocess.Popen[bytes]:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    run = ["train", "run", str(folder / "recipe.yaml"), "--data", str(folder), "--out", str(folder / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*launch, str(ranks), *options, "-m", "anysound", *run], cwd=ROOT, env=environment, stdout=log, stderr=log
        )


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "run" / "steps.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_two_ranks_with_one_shard_stop_on_a_signal_and_one_rank_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tiny_recipe(
        tmp_path, data=[{"kind": "shards", "path": "shards"}], loading={"workers": 2}, epochs=200, accumulation=2
    )
    write_shards(read_manifest(tmp_path / "manifest.jsonl"), tmp_path / "shards")
    process = torchrun(recipe, tmp_path)
    try:
        end = time.monotonic() + 300
        while len(lines(tmp_path)) < 3:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        # torchrun's own status tells of the signal; its ranks end well.
        assert process.wait(90) != 0
    [step] = States(tmp_path / "run" / "states", 2).steps()[-1:]
    assert step == len(lines(tmp_path))
    assert train(recipe, tmp_path, tmp_path / "run", stop_after=step + 1).step == step + 1
    assert "on 2 ranks and resumes on 1" in caplog.text


def test_average_and_layer_rates_on_two_ranks_are_those_of_one(tmp_path: Path) -> None:
    still = TINY.model_dump()
    still["text_encoder"]["architecture"] |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    recipe = tiny_recipe(
        tmp_path,
        checkpoint=still,
        epochs=1,
        ema=0.5,
        loss="sigmoid",
        freeze={"batch_norm": True},
        optimiser={"kind": "adamw", "layer_decay": 0.5, "decay_all": False, "weight_decay": 0.1},
    )
    train(recipe, tmp_path, tmp_path / "alone")
    process = torchrun(recipe, tmp_path)
    assert process.wait(300) == 0, (tmp_path / "log").read_text()
    one, two = (load(tmp_path / name / "last").model.state_dict() for name in ("alone", "run"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5, msg=name)


def ranks_of(process: subprocess.Popen[bytes]) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(process.pid)], check=False, capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def test_a_run_goes_on_when_torchrun_restarts_ranks_that_died(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, epochs=4, saving={"every_steps": 1, "keep": 2})
    process = torchrun(recipe, tmp_path, 2, "--max-restarts", "1")
    try:
        end = time.monotonic() + 300
        while len(lines(tmp_path)) < 2:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        os.kill(ranks_of(process)[-1], signal.SIGKILL)
        assert process.wait(300) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
    assert "resuming after step" in (tmp_path / "log").read_text()
    assert [row["step"] for row in lines(tmp_path)] == list(range(12))


def test_too_many_broken_files_stop_every_rank(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, 40)
    for number in range(0, 40, 3):
        (tmp_path / f"{number}.wav").write_bytes(b"not audio")
    process = torchrun(recipe, tmp_path)
    assert process.wait(300) != 0
    assert "more than the share of 0.05 that the recipe allows" in " ".join((tmp_path / "log").read_text().split())
    assert not (tmp_path / "run" / "best").exists()


def test_all_ranks_begin_with_the_head_that_the_leader_took_over(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    write_tagger(tmp_path)
    train(recipe, tmp_path, tmp_path / "alone", stop_after=1)
    [alone] = (tmp_path / "alone" / "steps.jsonl").read_text().splitlines()
    process = torchrun(recipe, tmp_path)
    assert process.wait(300) == 0, (tmp_path / "log").read_text()
    assert lines(tmp_path)[0]["loss"] == pytest.approx(json.loads(alone)["loss"], rel=1e-4)


def test_a_head_that_the_leader_cannot_take_over_stops_every_rank(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, joint_dim=16)
    write_tagger(tmp_path)
    process = torchrun(recipe, tmp_path)
    assert process.wait(300) != 0
    assert "joint_dim must be 128" in " ".join((tmp_path / "log").read_text().split())
