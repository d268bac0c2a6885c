"""The start's weights and the trained ones, averaged, so that a small data set does not cost what the start knew.

The average of the two in weight space keeps most of what both are good at (WiSE-FT, Wortsman et al. 2022, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

State = dict[str, Tensor]


def averaged(start: State, trained: State, share: float) -> State:
    """(1 - share) x start + share x trained for each floating tensor; other tensors are those of `trained`."""
    return {
        name: torch.lerp(start[name].to(value.device), value, share) if value.is_floating_point() else value
        for name, value in trained.items()
    }


def choose(figures: Mapping[float, float], clips: int | None) -> float:
    """The share to take, given the score of each share (0 is the start).

    If the score is an accuracy over `clips` held-out clips, it is the smallest share within one standard error of the
    best (Breiman et al. 1984): where a few clips cannot tell two shares apart, the start has the benefit of the doubt.
    Otherwise it is the smallest of the best.
    """
    best = max(figures.values())
    error = 0.0 if clips is None else math.sqrt(max(best * (1 - best), 0.0) / clips)
    return min(share for share, figure in figures.items() if figure >= best - error)
