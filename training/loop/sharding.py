"""Encoders that do not fit beside their optimiser: weights, gradients and optimiser state divided among the ranks.

This is torch's `fully_shard` (FSDP2; Zhao et al. 2023, PyTorch FSDP). Each rank keeps a part of every parameter along
its first dimension. A layer is gathered when it computes and divided again afterwards; gradients are averaged as DDP
averages them. The temperature and the bias of the sigmoid loss are single numbers, and every rank has them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from model.clap import Clap
from training.loop.layers import layers
from training.loop.ranks import Ranks
from training.recipe import Recipe


def is_sharded(recipe: Recipe, ranks: Ranks) -> bool:
    """Whether a run divides its model. One rank has nobody to share with."""
    return recipe.fully_shard and ranks.world > 1


def shard(module: nn.Module, ranks: Ranks) -> None:
    """Divide `module`, each repeated block of an encoder by itself, and move it to the rank's device."""
    mesh = init_device_mesh(ranks.device.type, (ranks.world,))
    numbers = {parameter for parameter in module.parameters() if parameter.ndim == 0}
    for part in (*layers(module), module):
        divided: FSDPModule = fully_shard(part, mesh=mesh, ignored_params=numbers)
        # gloo has no average.
        divided.set_force_sum_reduction_for_comms(ranks.device.type == "cpu")
    module.to(ranks.device)


def place(module: nn.Module, recipe: Recipe, ranks: Ranks) -> None:
    """Move a module to the rank's device, divided where the recipe says so."""
    if is_sharded(recipe, ranks):
        shard(module, ranks)
    else:
        module.to(ranks.device)


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor that is divided; any other tensor as it is. Both share their memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def average_numbers(module: nn.Module, ranks: Ranks) -> None:
    """Average the gradients of the parameters that are not divided, as FSDP does those that are."""
    for parameter in module.parameters():
        if parameter.grad is not None and not isinstance(parameter.grad, DTensor):
            [total] = ranks.sums([float(parameter.grad)])
            parameter.grad.fill_(total / ranks.world)


def clip(parameters: Sequence[nn.Parameter], limit: float, ranks: Ranks) -> float:
    """Scale the gradients of all ranks to a norm of at most `limit`, and return the norm they had."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    divided = [gradient.to_local() for gradient in gradients if isinstance(gradient, DTensor)]
    if not divided:
        return float(nn.utils.clip_grad_norm_(parameters, limit))
    whole = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    [square] = ranks.sums([float(nn.utils.get_total_norm(divided)) ** 2])
    norm = math.sqrt(square + float(nn.utils.get_total_norm(whole)) ** 2)
    if norm > limit:
        torch._foreach_mul_([*divided, *whole], limit / (norm + 1e-6))
    return norm


def gathered(state: Any, kept: bool) -> Any:
    """A state with its divided tensors put together, on the CPU; None in their place unless they are `kept`.

    All ranks must call it together.
    """
    if isinstance(state, DTensor):
        whole = state.full_tensor()
        return whole.cpu() if kept else None
    if isinstance(state, dict):
        return {name: gathered(value, kept) for name, value in state.items()}
    return [gathered(value, kept) for value in state] if isinstance(state, list) else state


def divided_as(other: Tensor, whole: Any) -> Any:
    """This rank's part of the tensor `whole`, as `other` is divided; what has another shape stays as it is."""
    if not isinstance(other, DTensor) or not isinstance(whole, Tensor) or whole.shape != other.shape:
        return whole
    return distribute_tensor(whole.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


@dataclass(frozen=True)
class ModelState:
    """A model that loads the state of a whole model, whether it is divided or not."""

    model: nn.Module

    def state_dict(self) -> dict[str, Any]:
        return self.model.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        own = self.model.state_dict()
        parts = {name: divided_as(own[name], value) if name in own else value for name, value in state_dict.items()}
        self.model.load_state_dict(parts)


@dataclass(frozen=True)
class OptimiserState:
    """An optimiser that loads the state of the optimiser of a whole model, in the same way."""

    optimiser: torch.optim.Optimizer

    def state_dict(self) -> dict[str, Any]:
        return self.optimiser.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        parts = {
            number: {name: divided_as(parameters[number], value) for name, value in state.items()}
            for number, state in state_dict["state"].items()
        }
        self.optimiser.load_state_dict(state_dict | {"state": parts})


class Whole:
    """A copy of a model that is going to be divided, for validation and checkpoints.

    It has weights only within `gathered`, so that a rank holds all of them no longer than it must.
    """

    def __init__(self, model: Clap, device: torch.device) -> None:
        self.model = model
        self.clap = copy.deepcopy(model).eval().requires_grad_(False)
        self._drop()
        self.clap.to(device)

    def _drop(self) -> None:
        for parameter in self.clap.parameters():
            parameter.data = parameter.data.new_empty(0)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """All ranks must enter it together."""
        own = self.clap.state_dict(keep_vars=True)
        for name, value in self.model.state_dict().items():
            own[name].data = value.full_tensor() if isinstance(value, DTensor) else value.clone()
        try:
            yield
        finally:
            self._drop()
