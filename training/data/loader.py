"""Batches of segments and tokenised captions, read ahead by worker processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.audio import AudioError
from model.config import FrontEndConfig
from model.text import Tokenizer, Tokens
from model.windows import Samples
from training.data.manifest import Captioned
from training.data.sampler import Batches, Draw, Order
from training.data.segments import read_segment

ATTEMPTS = 16


@dataclass(frozen=True)
class Item:
    """One pair as it goes into a batch. `broken` names the recordings that were tried before it, and why not."""

    window: Samples
    caption: str
    recording: int
    broken: dict[str, str]


@dataclass(frozen=True)
class Batch:
    """A rank's share of a step: windows [b, samples], token ids [b, tokens].

    `recordings` and `captions` int64 [b] tell which pairs share one: they are no negatives of each other.
    """

    windows: Tensor
    tokens: Tokens
    recordings: Tensor
    captions: Tensor
    names: tuple[str, ...]
    broken: dict[str, str]

    def __len__(self) -> int:
        return len(self.windows)

    def pin_memory(self) -> Batch:
        tokens = {name: ids.pin_memory() for name, ids in self.tokens.items()}
        return replace(self, windows=self.windows.pin_memory(), tokens=tokens)

    def to(self, device: torch.device) -> Batch:
        return replace(
            self,
            windows=self.windows.to(device, non_blocking=True),
            tokens={name: ids.to(device, non_blocking=True) for name, ids in self.tokens.items()},
            recordings=self.recordings.to(device, non_blocking=True),
            captions=self.captions.to(device, non_blocking=True),
        )


class Segments(Dataset[Any]):
    """A draw -> a random segment of its recording, with its caption.

    A recording that cannot be read is replaced by another, the same one on every run, so that a batch is always full.
    """

    def __init__(self, clips: Sequence[Captioned], front_end: FrontEndConfig, seed: int) -> None:
        self.clips = clips
        self.front_end = front_end
        self.seed = seed
        counts = [len(clip.captions) for clip in clips]
        self.recording = np.repeat(np.arange(len(clips)), counts)
        self.caption = np.concatenate([np.arange(count) for count in counts])

    def __len__(self) -> int:
        return len(self.recording)

    def __getitem__(self, draw: Draw) -> Item:
        rng = np.random.default_rng((self.seed, draw.epoch, draw.pair))
        length = self.front_end.window_samples
        broken: dict[str, str] = {}
        pair = draw.pair
        for _ in range(ATTEMPTS):
            index = int(self.recording[pair])
            clip = self.clips[index]
            caption = clip.captions[self.caption[pair]]
            try:
                window = read_segment(clip.source, self.front_end.sample_rate, length, self.front_end.padding, rng)
                return Item(window, caption, index, broken)
            except (AudioError, OSError) as error:
                broken[clip.name] = str(error)
            pair = int(rng.integers(len(self)))
        # Every rank learns of `broken` and stops in the same step; this one must not raise alone.
        return Item(np.zeros(length, np.float32), caption, index, broken)


def shards_of(clips: Sequence[Captioned]) -> Order | None:
    """The shard of every pair; None where a clip is a file of its own."""
    if any(clip.size is None for clip in clips):
        return None
    paths = {path: number for number, path in enumerate(dict.fromkeys(clip.audio for clip in clips))}
    return np.repeat([paths[clip.audio] for clip in clips], [len(clip.captions) for clip in clips])


def caption_key(caption: str) -> int:
    """Equal captions have equal keys, whatever their case."""
    return int.from_bytes(hashlib.blake2b(caption.casefold().encode(), digest_size=8).digest(), "big", signed=True)


class Collate:
    """Items -> batch. Captions are tokenised here, in the worker."""

    def __init__(self, tokenizer: Tokenizer, clips: Sequence[Captioned]) -> None:
        self.tokenizer = tokenizer
        self.names = [clip.name for clip in clips]

    def __call__(self, items: Sequence[Item]) -> Batch:
        return Batch(
            torch.from_numpy(np.stack([item.window for item in items])),
            self.tokenizer([item.caption for item in items]),
            torch.tensor([item.recording for item in items]),
            torch.tensor([caption_key(item.caption) for item in items]),
            tuple(self.names[item.recording] for item in items),
            {name: reason for item in items for name, reason in item.broken.items()},
        )


def one_thread(_worker: int) -> None:
    """A worker decodes; the cores belong to the encoders."""
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def batches(
    segments: Segments, sampler: Batches, tokenizer: Tokenizer, workers: int, prefetch: int, pinned: bool = False
) -> Iterable[Batch]:
    """The sampler's batches in its order, whatever the number of `workers` (0: read in this process)."""
    return DataLoader(
        segments,
        batch_sampler=sampler,
        collate_fn=Collate(tokenizer, segments.clips),
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        # A forked copy of a process with threads can wait for ever for a lock that none of its own threads holds.
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=one_thread,
        pin_memory=pinned,
    )
