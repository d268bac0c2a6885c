"""Prepare an encoder for inference: fold batch norms into convolutions and choose fast weight layouts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def prepare(encoder: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Fold batch norms, use channels-last layout and cast, in place. The encoder can no longer be trained.

    With bfloat16 the weights of convolutions and linear layers are cast once, instead of by autocast in every pass.
    Everything else stays float32 and is left to autocast.
    """
    fold_batch_norms(encoder.eval())
    encoder.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if dtype is not torch.float32:
        for module in encoder.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(dtype)
    return encoder


def fold_batch_norms(module: nn.Module) -> None:
    """Replace each convolution and the batch norm that follows it by one convolution, in place.

    y = g (W x - m) / sqrt(v + eps) + b is the convolution (g / sqrt(v + eps)) W with the bias b - g m / sqrt(v + eps).
    Raises ValueError for a module in training mode, whose statistics still change.
    """
    for parent in module.modules():
        for before, after in list(pairs(parent)):
            convolution, norm = getattr(parent, before), getattr(parent, after)
            if norm.training:
                raise ValueError("only a model in evaluation mode has batch norms to fold")
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight,
                convolution.bias,
                norm.running_mean,
                norm.running_var,
                norm.eps,
                norm.weight,
                norm.bias,
            )
            setattr(parent, after, nn.Identity())


def pairs(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of the children that are a convolution and its batch norm.

    In a Sequential one follows the other; elsewhere `conv1` belongs to `bn1`, the naming of PANNs.
    """
    names = [name for name, _ in parent.named_children()]
    if isinstance(parent, nn.Sequential):
        candidates = list(itertools.pairwise(names))
    else:
        candidates = [(name, name.replace("conv", "bn")) for name in names if name.startswith("conv")]
    for before, after in candidates:
        norm = getattr(parent, after, None)
        if isinstance(getattr(parent, before), nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            yield before, after
