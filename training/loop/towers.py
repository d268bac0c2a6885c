"""CLAP as it is trained: both encoders and the temperature in one forward pass, with parts of it frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from model.clap import Clap
from model.cnn14 import ConvBlock
from model.mobilenet import InvertedResidual
from model.text import Tokens
from training.loop.ranks import Ranks
from training.recipe import Recipe, RecipeError

BatchNorm = nn.modules.batchnorm._BatchNorm


class Towers(nn.Module):
    """Windows [b, samples], token ids [b, tokens] -> normalised embeddings [b, d], [b, d], and the scale.

    A frozen encoder's base gets no gradient and stays in evaluation mode: batch-norm statistics do not change and
    dropout is off. Its projection is still trained, as in the paper's table 2.
    """

    def __init__(self, clap: Clap, freeze_audio: bool = False, freeze_text: bool = False) -> None:
        super().__init__()
        self.clap = clap
        self.frozen: list[nn.Module] = []
        if freeze_audio:
            self.frozen.append(clap.audio_encoder.base)
        if freeze_text:
            self.frozen.append(clap.caption_encoder.base)
        for module in (*self.frozen, *unused_heads(clap)):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Towers:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, windows: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        return self.clap.embed_audio(windows), self.clap.embed_text(tokens), self.clap.logit_scale.exp()


def unused_heads(clap: Clap) -> Iterator[nn.Module]:
    """Heads that the contrastive loss does not use; DDP would wait for their gradients."""
    unreached: list[tuple[nn.Module, str]] = [
        (clap.audio_encoder.base, "fc_audioset"),
        (clap.audio_encoder.base, "classifier"),
    ]
    if clap.caption_encoder.pooling != "pooler":
        unreached.append((clap.caption_encoder.base, "pooler"))
    for base, name in unreached:
        head = getattr(base, name, None)
        if isinstance(head, nn.Module):
            yield head


def distribute(towers: Towers, recipe: Recipe, ranks: Ranks) -> Towers | DistributedDataParallel:
    """The towers in DDP where there are several ranks, with batch norm and activations as the recipe says.

    Raises RecipeError where batch norm cannot be synchronised.
    """
    if recipe.activation_checkpointing:
        checkpoint_activations(towers.clap)
    if ranks.world == 1:
        return towers
    if recipe.sync_batch_norm:
        if ranks.device.type != "cuda":
            raise RecipeError("sync_batch_norm works on GPUs only (a limit of torch)")
        nn.SyncBatchNorm.convert_sync_batchnorm(towers.clap.audio_encoder)
    devices = [ranks.device.index] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(towers, device_ids=devices, gradient_as_bucket_view=True)


@contextmanager
def unchanged_statistics(module: nn.Module) -> Iterator[None]:
    """Inside the block forward passes do not change batch-norm statistics, so a batch computed twice counts once."""
    buffers = [
        buffer
        for part in module.modules()
        if isinstance(part, BatchNorm) and part.training
        for buffer in part.buffers()
    ]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


def checkpoint_activations(clap: Clap) -> None:
    """Keep only the blocks' inputs for the backward pass and compute the rest again: less memory, the same gradients.

    The second pass draws the same dropout masks and does not change batch-norm statistics.
    """
    for module in clap.audio_encoder.base.modules():
        if isinstance(module, ConvBlock | InvertedResidual):
            module.forward = _recomputed(module)  # type: ignore[method-assign]
    base: Any = clap.caption_encoder.base
    base.activation_checkpointing_enable({"use_reentrant": False})


def _recomputed(module: nn.Module) -> Callable[..., Tensor]:
    forward = module.forward

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), unchanged_statistics(module)

    @wraps(forward)
    def recomputed(*inputs: Any, **options: Any) -> Tensor:
        if not (module.training and torch.is_grad_enabled()):
            return forward(*inputs, **options)  # type: ignore[no-any-return]
        out: Tensor = checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **options)
        return out

    return recomputed
