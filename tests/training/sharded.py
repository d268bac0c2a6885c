"""Runs on gloo ranks, sharded and not: what `test_sharding` compares."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from model.config import HtsatConfig
from tests.checkpoints import TINY
from tests.training.recordings import tiny_recipe
from training.loop.metrics import metrics_log
from training.loop.ranks import Ranks
from training.loop.run import Trainer, train
from training.loop.sharding import local
from training.loop.stop import Stop
from training.recipe import Recipe


def recipe(folder: Path, **members: Any) -> Recipe:
    """Two epochs of two steps of a small HTSAT. Everything that has a state is on."""
    encoder = HtsatConfig(width=16, stage_depths=(1, 1), stage_heads=(2, 2), image_size=64)
    on = {
        "checkpoint": TINY.model_copy(update={"audio_encoder": encoder}).model_dump(),
        "ema": 0.5,
        "accumulation": 2,
        "clip_gradient": 1.0,
        "validation": {"hold_out": 0.2},
        "optimiser": {"kind": "adamw", "layer_decay": 0.5, "decay_all": False, "weight_decay": 0.1},
    }
    return tiny_recipe(folder, 24, **on | members)


def held(trainer: Trainer) -> dict[str, int]:
    """The size of the tensors that this rank holds; single numbers do not count."""
    assert trainer.average is not None
    parts = {
        "weights": list(trainer.clap.parameters()),
        "average": list(trainer.average.clap.parameters()),
        "validated": list(trainer.published.parameters()),
        "optimiser": [value for state in trainer.optimiser.state.values() for value in state.values()],
    }
    return {name: sum(local(tensor).numel() for tensor in tensors if tensor.ndim) for name, tensors in parts.items()}


def main(folder: Path) -> None:
    """Run by a rank's process. The resumed run stops within its second epoch."""
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    ranks = Ranks(rank, world)
    sharded = recipe(folder, fully_shard=True)
    sizes = {}
    for name, chosen in (("replicated", recipe(folder)), ("sharded", sharded)):
        trainer = Trainer(chosen, folder, folder / name, ranks)
        with metrics_log(folder / name, trainer.steps, 0, 0, ranks.leader) as metrics:
            trainer.train(Stop(), metrics)
        sizes[name] = held(trainer)
    train(sharded, folder, folder / "stopped", ranks, stop_after=3)
    train(sharded, folder, folder / "stopped", ranks)
    (folder / f"held-{rank}.json").write_text(json.dumps(sizes))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
