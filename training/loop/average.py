"""An exponential moving average of a model's weights, which is validated and published in their place."""

from __future__ import annotations

import copy
from typing import Any

import torch

from model.clap import Clap
from training.loop.sharding import ModelState, local


class Average:
    """`clap` is the average. Batch-norm statistics are averaged as weights are; counters are copied."""

    def __init__(self, model: Clap, decay: float) -> None:
        self.clap = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def follow(self, model: Clap) -> None:
        """Average in the weights of `model` after a step. Early steps keep less, so that the start fades."""
        self.steps += 1
        kept = min(self.decay, self.steps / (self.steps + 10))
        own, new = ({name: local(t) for name, t in part.state_dict().items()} for part in (self.clap, model))
        floating = [name for name in own if own[name].is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floating], [new[name] for name in floating], 1 - kept)
        for name in own.keys() - set(floating):
            own[name].copy_(new[name])

    def state_dict(self) -> dict[str, Any]:
        return {"clap": self.clap.state_dict(), "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        ModelState(self.clap).load_state_dict(state_dict["clap"])
        self.steps = state_dict["steps"]
