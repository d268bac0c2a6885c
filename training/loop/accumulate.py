"""Gradients of one step, with the batch in chunks where it does not fit into memory.

The loss needs the embeddings of the whole batch. They are first computed chunk by chunk without a graph; the loss
gives the gradients of the embeddings and of the temperature; then each chunk is computed again with a graph, and its
embeddings' gradients are propagated back (GradCache, Gao et al. 2021). To be exact:
- the temperature takes its gradient from the loss once, not once per chunk;
- both passes of a chunk draw the same dropout masks: they are seeded by the step, the rank and the chunk's number;
- batch-norm statistics are updated by the second pass only.
Batch norm normalises over a chunk, as it normalises over a rank's share of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from model.text import Tokens
from training.data.loader import Batch
from training.loop.loss import ContrastiveLoss, SigmoidLoss
from training.loop.sharding import average_numbers
from training.loop.towers import Towers, unchanged_statistics

Outputs = tuple[Tensor, Tensor, Tensor]


def dropout_seed(seed: int, step: int, rank: int, chunk: int) -> int:
    """The seed of all random numbers inside the encoders; a resumed run needs no saved generator state."""
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
    loss: ContrastiveLoss | SigmoidLoss,
    seed: Callable[[int], int],
    chunks: int = 1,
    precision: torch.dtype = torch.float32,
    scaled: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> tuple[Tensor, Tensor, Tensor]:
    """Add this step's gradients to the parameters.

    Returns the loss and the batch's audio and text embeddings [b, d], detached. `seed` maps a chunk's number to its
    dropout seed; `scaled` is a gradient scaler's `scale`.
    """

    def embed(module: torch.nn.Module, number: int, windows: Tensor, tokens: Tokens) -> Outputs:
        torch.manual_seed(seed(number))
        # Autocast caches cast weights; those of the pass without a graph must not serve the pass with one.
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
        _finish(towers, loss)
        return value.detach(), audio.detach(), text.detach()

    inner: torch.nn.Module = towers.module if isinstance(towers, DistributedDataParallel) else towers
    with torch.no_grad(), unchanged_statistics(inner):
        embedded = [embed(inner, number, *part) for number, part in enumerate(parts)]
    audio = torch.cat([outputs[0] for outputs in embedded]).requires_grad_()
    text = torch.cat([outputs[1] for outputs in embedded]).requires_grad_()
    scale = embedded[0][2].detach().requires_grad_()
    value = objective(audio, text, scale)
    scaled(value).backward()
    of_audio, of_text, of_scale = (_gradient(leaf) for leaf in (audio, text, scale))
    for number, part in enumerate(parts):
        last = number == chunks - 1
        with _gradient_sync(towers, last):
            outputs = embed(towers, number, *part)
            rows = slice(number * len(part[0]), (number + 1) * len(part[0]))
            share = of_scale if last else torch.zeros_like(of_scale)
            pairs = zip(outputs, (of_audio[rows], of_text[rows], share), strict=True)
            trained = [(output, gradient) for output, gradient in pairs if output.requires_grad]
            torch.autograd.backward([output for output, _ in trained], [gradient for _, gradient in trained])
    _finish(towers, loss)
    return value.detach(), audio.detach(), text.detach()


def _gradient(leaf: Tensor) -> Tensor:
    if leaf.grad is None:
        raise RuntimeError("the loss does not reach every output of the encoders")
    return leaf.grad


def _finish(towers: Towers | DistributedDataParallel, loss: ContrastiveLoss | SigmoidLoss) -> None:
    if isinstance(towers, FSDPModule):
        average_numbers(towers, loss.ranks)


def _gradient_sync(towers: Towers | DistributedDataParallel, last: bool) -> AbstractContextManager[None]:
    """Ranks add up their gradients once per step, in the backward pass of the last chunk.

    Sharded ones do so in every chunk: to keep them until the last one would take the memory that sharding saves.
    """
    if not last and isinstance(towers, DistributedDataParallel):
        return towers.no_sync()
    return nullcontext()
