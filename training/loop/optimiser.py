"""The optimiser of the parameters that are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from training.loop.towers import Towers
from training.recipe import Optimiser


def trained(towers: Towers) -> list[nn.Parameter]:
    """The parameters that are not frozen."""
    return [parameter for parameter in towers.parameters() if parameter.requires_grad]


def make_optimiser(towers: Towers, settings: Optimiser) -> torch.optim.Optimizer:
    """Adam or AdamW over the trained parameters; the encoders' bases are groups with multiples of the rate."""
    bases = {
        "audio": [p for p in towers.clap.audio_encoder.base.parameters() if p.requires_grad],
        "text": [p for p in towers.clap.caption_encoder.base.parameters() if p.requires_grad],
    }
    inside = {id(parameter) for base in bases.values() for parameter in base}
    groups: list[dict[str, Any]] = [
        {"params": bases["audio"], "multiple": settings.audio},
        {"params": bases["text"], "multiple": settings.text},
        {"params": [p for p in trained(towers) if id(p) not in inside], "multiple": 1.0},
    ]
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    groups = [group for group in groups if group["params"]]
    return kind(groups, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its multiple of `rate`."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["multiple"]
