"""The error message for a step whose loss or gradients are not finite."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from training.data.loader import Batch
from training.loop.ranks import Ranks


def describe_not_finite(
    ranks: Ranks, place: str, loss: float, norm: float, batch: Batch, audio: Tensor, text: Tensor
) -> str:
    """The message: whether loss or gradient norm is not finite at `place`, and whose embeddings [b, d] are not.

    All ranks must call it together.
    """
    mine = [
        f"the {kind} embedding of {name}"
        for kind, embeddings in (("audio", audio), ("text", text))
        for name, row in zip(batch.names, embeddings, strict=True)
        if not bool(torch.isfinite(row).all())
    ]
    found = [name for part in ranks.collect(mine) for name in cast("list[str]", part)]
    losses = [value for value in ranks.collect(loss) if not math.isfinite(cast("float", value))]
    what = f"the loss is {losses[0]}" if losses else f"the gradient norm is {norm}"
    what += f" at {place}"
    if not found:
        return f"{what}; every embedding is finite: the learning rate may be too high"
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{what}; not finite: {', '.join(found[:3])}{more}"
