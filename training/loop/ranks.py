"""The processes of one run: the rank of this one, and the values that they exchange."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed._functional_collectives import all_gather_tensor, all_gather_tensor_autograd

from model.devices import DeviceError, find_device
from training.data.manifest import ManifestError
from training.loop.state import StateError
from training.recipe import RecipeError

CPU = torch.device("cpu")

# Longer than any validation, in which all ranks wait for the slowest.
TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class Ranks:
    """This process's rank among the `world` processes of a run. A single process needs no process group."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def leader(self) -> bool:
        return self.rank == 0

    def gather(self, features: Tensor) -> Tensor:
        """Gather [b, ...] of every rank into [world x b, ...], in the order of ranks; gradients flow back."""
        if self.world == 1:
            return features
        gathered: Tensor = all_gather_tensor_autograd(features.contiguous(), 0, _everyone())
        return gathered

    def gather_keys(self, keys: Tensor) -> Tensor:
        """`gather` without gradients."""
        if self.world == 1:
            return keys
        gathered: Tensor = all_gather_tensor(keys.contiguous(), 0, _everyone())
        return gathered

    def align(self, tensors: Sequence[Tensor]) -> None:
        """Give tensors of one type the leader's values, on every rank."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors]).to(self.device)
        dist.broadcast(flat, 0)
        for tensor, values in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(values.view_as(tensor))

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each value's sum over ranks."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def collect(self, value: object) -> list[object]:
        """Every rank's value, on every rank."""
        if self.world == 1:
            return [value]
        values: list[object] = [None] * self.world
        dist.all_gather_object(values, value)
        return values


def _everyone() -> dist.ProcessGroup:
    return cast("dist.ProcessGroup", dist.group.WORLD)


def on_leader(ranks: Ranks, work: Callable[..., object], *arguments: object) -> None:
    """Call `work` on the leader alone, while the others wait. Errors of its input are raised on every rank."""
    failure: Exception | None = None
    if ranks.leader:
        try:
            work(*arguments)
        except (RecipeError, ManifestError, StateError) as error:
            failure = error
    found = ranks.collect(failure)[0]
    if isinstance(found, Exception):
        raise found


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """Join the process group that `torchrun` started; without torchrun the run is this process alone.

    `device` is `auto`, `cpu`, `cuda` or, without torchrun, `cuda:N`. On GPUs each process of torchrun takes that of its
    local rank, and NCCL; on CPU, gloo. Raises DeviceError.
    """
    place = find_device(device)
    on_gpu = place.type == "cuda"
    if ":" in device and "WORLD_SIZE" in os.environ:
        raise DeviceError(f"device {device}: torchrun gives each process the GPU of its rank; say cuda")
    if on_gpu and ":" not in device:
        place = find_device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
    if on_gpu:
        torch.cuda.set_device(place)
    if "WORLD_SIZE" not in os.environ:
        yield Ranks(device=place)
        return
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=TIMEOUT)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()
