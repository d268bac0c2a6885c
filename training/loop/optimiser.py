"""The optimiser of the parameters that are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from training.loop.layers import depths
from training.loop.towers import Towers
from training.recipe import Optimiser


def trained(towers: Towers) -> list[nn.Parameter]:
    """The parameters that are not frozen."""
    return [parameter for parameter in towers.parameters() if parameter.requires_grad]


def make_optimiser(towers: Towers, settings: Optimiser) -> torch.optim.Optimizer:
    """Adam or AdamW over the trained parameters, in groups that share a multiple of the rate and a weight decay.

    The multiple of a parameter of an encoder's base is that of its encoder times `layer_decay` for each layer above it.
    """
    multiples: dict[int, float] = {}
    for base, of_base in (
        (towers.clap.audio_encoder.base, settings.audio),
        (towers.clap.caption_encoder.base, settings.text),
    ):
        depth = depths(base)
        top = max(depth.values(), default=0)
        for name, parameter in base.named_parameters():
            multiples[id(parameter)] = of_base * settings.layer_decay ** (top - depth[name])
    groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for parameter in trained(towers):
        multiple = multiples.get(id(parameter), 1.0)
        decay = settings.weight_decay if settings.decay_all or parameter.ndim > 1 else 0.0
        # Numbers are whole where other parameters are sharded, and torch does not update both kinds in one group.
        key = multiple, decay, parameter.ndim == 0
        group = groups.setdefault(key, {"params": [], "multiple": multiple, "weight_decay": decay})
        group["params"].append(parameter)
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    return kind(groups.values(), lr=settings.learning_rate, betas=settings.betas)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its multiple of `rate`."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["multiple"]
