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
from model.front_end import LogMel
from model.text import Tokens
from training.loop.layers import layers
from training.loop.ranks import Ranks
from training.loop.sharding import is_sharded, place
from training.recipe import Freeze, Recipe, RecipeError

BatchNorm = nn.modules.batchnorm._BatchNorm
NOTHING = Freeze()


class Towers(nn.Module):
    """Windows [b, samples], token ids [b, tokens] -> normalised embeddings [b, d], [b, d], and the scale.

    A frozen encoder's base gets no gradient and stays in evaluation mode: batch-norm statistics do not change and
    dropout is off. Its projection is still trained, as in the paper's table 2, unless it is frozen too.
    """

    def __init__(self, clap: Clap, freeze: Freeze = NOTHING, biased: bool = False) -> None:
        """If `biased`, the third output is [2]: the scale and the bias of the sigmoid loss, which starts at -10."""
        super().__init__()
        self.clap = clap
        self.bias = LogitBias() if biased else None
        text = clap.caption_encoder
        parts = [
            (freeze.audio, clap.audio_encoder.base),
            (freeze.text, text.base),
            (freeze.text_projection, text.projection),
        ]
        self.frozen: list[nn.Module] = [module for frozen, module in parts if frozen]
        for module in (*self.frozen, *unused_heads(clap)):
            module.requires_grad_(False)
        clap.logit_scale.requires_grad_(not freeze.temperature)
        if freeze.batch_norm:
            self.frozen += [module for module in clap.modules() if isinstance(module, BatchNorm)]

    def train(self, mode: bool = True) -> Towers:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, windows: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        scale = self.clap.logit_scale.exp()
        if self.bias is not None:
            scale = torch.stack([scale, self.bias.value])
        return self.clap.embed_audio(windows), self.clap.embed_text(tokens), scale


class LogitBias(nn.Module):
    """The bias of the sigmoid loss. It moves all cosines alike, so a checkpoint has no use for it."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(-10.0))


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
    """The towers on the rank's device and, where there are several ranks, in DDP or sharded.

    Raises RecipeError where batch norm cannot be synchronised.
    """
    if recipe.activation_checkpointing:
        checkpoint_activations(towers.clap)
    if recipe.compile:
        compile_encoders(towers.clap)
    if ranks.world > 1 and recipe.sync_batch_norm:
        if ranks.device.type != "cuda":
            raise RecipeError("sync_batch_norm works on GPUs only (a limit of torch)")
        nn.SyncBatchNorm.convert_sync_batchnorm(towers.clap.audio_encoder)
    place(towers, recipe, ranks)
    if ranks.world == 1 or is_sharded(recipe, ranks):
        return towers
    devices = [ranks.device.index] if ranks.device.type == "cuda" else None
    # Statistics of batch norm are aligned after each step, whoever adds up the gradients.
    return DistributedDataParallel(towers, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True)


def statistics(module: nn.Module) -> list[Tensor]:
    """The batch-norm statistics that training changes."""
    norms = (part for part in module.modules() if isinstance(part, BatchNorm) and part.training)
    return [buffer for part in norms for buffer in part.buffers() if buffer.is_floating_point()]


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


def compile_encoders(clap: Clap) -> None:
    """Compile both encoders, without the front end: inductor has no code for the complex numbers of a spectrum."""
    front_ends: list[nn.Module] = [module for module in clap.modules() if isinstance(module, LogMel)]
    for module in front_ends:
        module.forward = torch.compiler.disable(module.forward)
    for encoder in (clap.audio_encoder.base, clap.caption_encoder.base):
        encoder.compile()


def checkpoint_activations(clap: Clap) -> None:
    """Keep only the blocks' inputs for the backward pass and compute the rest again: less memory, the same gradients.

    The second pass draws the same dropout masks and does not change batch-norm statistics.
    """
    for module in layers(clap.audio_encoder.base):
        module.forward = _recomputed(module)
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
