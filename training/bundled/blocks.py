"""Blocks of new mixtures, made during training by producer processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.memory import keep_freed_memory
from training.bundled.mixture import COUNTS, mixture
from training.bundled.recordings import Recordings
from training.data.memory_file import AVAILABLE, MemoryFile
from training.tagging.tagger import FRONT_END
from training.worker_process import follow_parent


class Block(NamedTuple):
    """`windows` int16 [n, samples]."""

    windows: Tensor


def _send(block: Block) -> tuple[Any, tuple[MemoryFile]]:
    """How a block goes from a producer to the training: in a memory file."""
    return _receive, (MemoryFile(block.windows.numpy()),)


def _receive(windows: MemoryFile) -> Block:
    return Block(torch.from_numpy(windows.take()))


if AVAILABLE:
    ForkingPickler.register(Block, _send)


def floats(windows: Tensor) -> Tensor:
    """int16 windows -> float32 from -1 to 1."""
    return windows.float() / 32767.0


@dataclass
class Blocks(Dataset[Block]):
    """Block `i` of a stage: `size` mixtures. They depend on `seed` and `i` alone, not on the number of producers."""

    stores: Sequence[Path]
    held_out: Sequence[str]
    window_s: float
    size: int
    seed: int

    def __post_init__(self) -> None:
        self._opened: Recordings | None = None

    def __getitem__(self, number: int) -> Block:
        if self._opened is None:  # only in the process that makes blocks
            self._opened = Recordings(self.stores, self.held_out)
        recordings = self._opened
        rng = np.random.default_rng((self.seed, number))
        chosen = rng.choice(len(recordings), size=(self.size, len(COUNTS)), p=recordings.weights())
        counts = 1 + rng.choice(len(COUNTS), size=self.size, p=COUNTS)
        length = round(self.window_s * FRONT_END.sample_rate)
        windows = torch.empty(self.size, length, dtype=torch.int16)
        for row in range(self.size):
            sources = [recordings.samples(int(index)) for index in chosen[row, : counts[row]]]
            windows[row] = (mixture(sources, FRONT_END.sample_rate, length, rng) * 32767.0).short()
        return Block(windows)


def made(blocks: Blocks, numbers: Sequence[int], producers: int) -> DataLoader[Block]:
    """The blocks of `numbers` in order, made by `producers` processes up to two blocks ahead, or by this one if 0."""
    return DataLoader(
        blocks,
        batch_size=None,
        sampler=numbers,
        num_workers=producers,
        prefetch_factor=2 if producers else None,
        multiprocessing_context="forkserver" if producers else None,
        worker_init_fn=producer,
    )


def producer(_number: int) -> None:
    follow_parent()
    keep_freed_memory()
    torch.set_num_threads(1)
