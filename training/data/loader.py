"""Batches of segments and tokenised captions, prefetched by worker processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
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
from training.data.memory_file import AVAILABLE, MemoryFile
from training.data.sampler import Batches, Draw, Order, Weights
from training.data.segments import read_segment
from training.worker_process import follow_parent

# How many recordings are tried for one place in a batch if each of them is broken.
ATTEMPTS = 16
# How many recordings a worker fetches from URLs at a time.
FETCHES = 32


@dataclass(frozen=True)
class Item:
    """One pair as it goes into a batch. `broken` has the recordings that it replaces and why each cannot be read."""

    window: Samples
    caption: str
    recording: int
    broken: dict[str, str]


@dataclass(frozen=True)
class Batch:
    """A rank's share of a step: windows [b, samples], token ids [b, tokens].

    `recordings` and `captions` int64 [b] are equal for pairs that share one: such pairs are no negatives of each other.
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


def _send(batch: Batch) -> tuple[Any, tuple[Any, ...]]:
    """How a batch goes from a worker to the run: the windows as a memory file, the rest as a copy."""
    tokens = {name: ids.numpy() for name, ids in batch.tokens.items()}
    keys = batch.recordings.numpy(), batch.captions.numpy()
    return _receive, (MemoryFile(batch.windows.numpy()), tokens, *keys, batch.names, batch.broken)


def _receive(
    windows: MemoryFile, tokens: dict[str, Any], recordings: Any, captions: Any, names: Any, broken: Any
) -> Batch:
    ids = {name: torch.from_numpy(rows) for name, rows in tokens.items()}
    keys = torch.from_numpy(recordings), torch.from_numpy(captions)
    return Batch(torch.from_numpy(windows.take()), ids, *keys, names, broken)


if AVAILABLE:
    ForkingPickler.register(Batch, _send)


class Segments(Dataset[Any]):
    """Maps a draw to a random segment of its recording, with its caption.

    A recording that cannot be read is replaced by another, the same one in every run, so that batches are always full.
    """

    def __init__(self, clips: Sequence[Captioned], front_end: FrontEndConfig, seed: int, drawn: bool = False) -> None:
        """Each caption makes a pair. If `drawn`, each recording makes one, and its caption is drawn in every epoch."""
        self.clips = clips
        self.front_end = front_end
        self.seed = seed
        self.drawn = drawn
        counts = [1 if drawn else len(clip.captions) for clip in clips]
        self.recording = np.repeat(np.arange(len(clips)), counts)
        self.caption = np.concatenate([np.arange(count) for count in counts])

    def __len__(self) -> int:
        return len(self.recording)

    def __getitems__(self, draws: Sequence[Draw]) -> list[Item]:
        """The items of a batch. Recordings at URLs are fetched together: a store's delay is waited for once."""
        remote = {int(self.recording[draw.pair]) for draw in draws}
        remote = {index for index in remote if self.clips[index].url}
        if not remote:
            return [self[draw] for draw in draws]
        with ThreadPoolExecutor(min(len(remote), FETCHES), "fetch") as pool:
            fetched = {index: pool.submit(lambda clip: clip.source, self.clips[index]) for index in remote}
            return [self._item(draw, fetched) for draw in draws]

    def __getitem__(self, draw: Draw) -> Item:
        return self._item(draw, {})

    def _item(self, draw: Draw, fetched: Mapping[int, Future[Path | bytes]]) -> Item:
        rng = np.random.default_rng((self.seed, draw.epoch, draw.pair))
        length = self.front_end.window_samples
        broken: dict[str, str] = {}
        pair = draw.pair
        for _ in range(ATTEMPTS):
            index = int(self.recording[pair])
            clip = self.clips[index]
            number = rng.integers(len(clip.captions)) if self.drawn else self.caption[pair]
            caption = clip.captions[number]
            try:
                source = fetched[index].result() if index in fetched else clip.source
                window = read_segment(source, self.front_end.sample_rate, length, self.front_end.padding, rng)
                return Item(window, caption, index, broken)
            except (AudioError, OSError) as error:
                broken[clip.name] = str(error)
            pair = int(rng.integers(len(self)))
        # All ranks learn of `broken` and stop in the same step; raising here would leave the others waiting.
        return Item(np.zeros(length, np.float32), caption, index, broken)


def shards_of(segments: Segments) -> Order | None:
    """The number of every pair's shard [pairs]; None unless all clips are in shards."""
    clips = segments.clips
    if any(clip.size is None for clip in clips):
        return None
    names = [clip.url or str(clip.audio) for clip in clips]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    of_clip: Order = np.array([numbers[name] for name in names])
    return of_clip[segments.recording]


def weights_of(segments: Segments) -> Weights | None:
    """Every pair's weight [pairs]; None where all are 1."""
    of_clip = np.array([clip.weight for clip in segments.clips])
    return None if (of_clip == 1).all() else of_clip[segments.recording]


def caption_key(caption: str) -> int:
    """An int64 that is equal for equal captions, ignoring case."""
    return int.from_bytes(hashlib.blake2b(caption.casefold().encode(), digest_size=8).digest(), "big", signed=True)


class Collate:
    """Makes a batch of items; captions are tokenised in the worker."""

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


def start_worker(_worker: int) -> None:
    """A worker decodes on one thread: the other cores belong to the encoders."""
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    follow_parent()


def batches(
    segments: Segments, sampler: Batches, tokenizer: Tokenizer, workers: int, prefetch: int, pinned: bool = False
) -> Iterable[Batch]:
    """The sampler's batches in its order, whatever the number of `workers`; without workers this process reads."""
    return DataLoader(
        segments,
        batch_sampler=sampler,
        collate_fn=Collate(tokenizer, segments.clips),
        prefetch_factor=prefetch if workers else None,
        pin_memory=pinned,
        **_processes(workers),
    )


def every_segment(
    segments: Segments, pairs: Sequence[int], tokenizer: Tokenizer, batch: int, workers: int
) -> Iterable[Batch]:
    """Batches of at most `batch` of the `pairs`, in order, the same on every iteration; the workers stay."""
    draws = [Draw(0, pair) for pair in pairs]
    return DataLoader(
        segments,
        batch_sampler=[draws[first : first + batch] for first in range(0, len(draws), batch)],
        collate_fn=Collate(tokenizer, segments.clips),
        persistent_workers=workers > 0,
        **_processes(workers),
    )


def _processes(workers: int) -> dict[str, Any]:
    """How a DataLoader starts its workers. They are not forked: a lock held by a thread would stay locked for ever."""
    context = "forkserver" if workers else None
    return {"num_workers": workers, "multiprocessing_context": context, "worker_init_fn": start_worker}
