"""Gradients of one step, the batch in chunks where it does not fit into memory.

The loss needs the whole batch at once, so its features are computed first without a graph, chunk by chunk; the loss
gives each feature and the temperature its gradient; then each chunk is computed again, now with a graph, and handed
its features' gradients (GradCache, Gao et al. 2021). What that takes to be exact:
- the temperature takes its gradient from the loss once, not once a chunk;
- a chunk draws the same dropout masks both times: each is seeded by the step, the rank and its number;
- batch-norm statistics count the second pass alone.
A chunk's batch norm sees the chunk, as a rank's sees the rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from model.text import Tokens
from training.data.loader import Batch
from training.loop.loss import ContrastiveLoss
from training.loop.towers import Towers, kept_statistics

Outputs = tuple[Tensor, Tensor, Tensor]


def dropout_seed(seed: int, step: int, rank: int, chunk: int) -> int:
    """What every random number inside the encoders follows from: a resumed run needs no generator's state."""
    low, high = np.random.SeedSequence((seed, step, rank, chunk)).generate_state(2)
    return int(high) << 31 ^ int(low)


def chunks_of(batch: Batch, chunks: int) -> Iterator[tuple[Tensor, Tokens]]:
    size = len(batch) // chunks
    for first in range(0, len(batch), size):
        part = slice(first, first + size)
        yield batch.windows[part], {name: ids[part] for name, ids in batch.tokens.items()}


def accumulate(
    towers: Towers | DistributedDataParallel,
    batch: Batch,
    loss: ContrastiveLoss,
    seed: Callable[[int], int],
    chunks: int = 1,
    precision: torch.dtype = torch.float32,
    scaled: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> tuple[Tensor, Tensor, Tensor]:
    """Add this step's gradients to the parameters; the loss and the batch's embeddings [b, d], detached, are returned.

    `seed` gives the dropout seed of a chunk, `scaled` a gradient scaler's multiple of the loss.
    """

    def embed(module: torch.nn.Module, number: int, windows: Tensor, tokens: Tokens) -> Outputs:
        torch.manual_seed(seed(number))
        # Weights cast for a pass without a graph must not be taken from the cache by one that needs it.
        with torch.autocast(windows.device.type, precision, precision != torch.float32, cache_enabled=chunks == 1):
            outputs: Outputs = module(windows, tokens)
        return outputs

    def objective(audio: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        return loss(audio, text, scale, batch.recordings, batch.captions)

    parts = list(chunks_of(batch, chunks))
    if chunks == 1:
        audio, text, scale = embed(towers, 0, *parts[0])
        value = objective(audio, text, scale)
        scaled(value).backward()
        return value.detach(), audio.detach(), text.detach()

    inner: torch.nn.Module = towers.module if isinstance(towers, DistributedDataParallel) else towers
    with torch.no_grad(), kept_statistics(inner):
        looked = [embed(inner, number, *part) for number, part in enumerate(parts)]
    audio = torch.cat([outputs[0] for outputs in looked]).requires_grad_()
    text = torch.cat([outputs[1] for outputs in looked]).requires_grad_()
    scale = looked[0][2].detach().requires_grad_()
    value = objective(audio, text, scale)
    scaled(value).backward()
    of_audio, of_text, of_scale = (_gradient(leaf) for leaf in (audio, text, scale))
    for number, part in enumerate(parts):
        last = number == chunks - 1
        with _silent(towers, not last):
            outputs = embed(towers, number, *part)
            rows = slice(number * len(part[0]), (number + 1) * len(part[0]))
            share = of_scale if last else torch.zeros_like(of_scale)
            reached = zip(outputs, (of_audio[rows], of_text[rows], share), strict=True)
            trained = [(output, gradient) for output, gradient in reached if output.requires_grad]
            torch.autograd.backward([output for output, _ in trained], [gradient for _, gradient in trained])
    return value.detach(), audio.detach(), text.detach()


def _gradient(leaf: Tensor) -> Tensor:
    if leaf.grad is None:
        raise RuntimeError("the loss does not reach every output of the encoders")
    return leaf.grad


def _silent(towers: Towers | DistributedDataParallel, silent: bool) -> AbstractContextManager[None]:
    """Ranks add up their gradients once a step, with the last chunk."""
    if silent and isinstance(towers, DistributedDataParallel):
        return towers.no_sync()
    return nullcontext()
