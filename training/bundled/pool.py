"""A pool of mixtures with what the tagger heard in each: the tagger runs once, training reads the pool many times."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.bundled.augment import mixture
from training.bundled.recordings import WaveformStore
from training.tagging.tagger import FRONT_END, Tagger
from training.worker_process import follow_parent

log = logging.getLogger(__name__)

CHUNK = 512
SOURCES = (0.3, 0.45, 0.25)  # chances of a mixture of one, two and three recordings


@dataclass(frozen=True)
class PoolSpec:
    """What a pool is made of; the same spec gives the same pool, chunk by chunk, whatever the number of processes."""

    store: Path
    weights: Path
    class_labels: Path
    folder: Path
    seed: int = 0

    def chunk(self, number: int) -> Path:
        return self.folder / f"chunk-{number:05d}"


def make_chunk(spec: PoolSpec, store: WaveformStore, tagger: Tagger, number: int) -> None:
    """Write one chunk, a folder of arrays (see `Pool`), whole or not at all."""
    rng = np.random.default_rng((spec.seed, number))
    rate, length = FRONT_END.sample_rate, FRONT_END.window_samples
    weights = store.weights()
    waveforms = np.empty((CHUNK, length), np.int16)
    sources = np.full((CHUNK, len(SOURCES)), -1, np.int32)
    for row in range(CHUNK):
        count = 1 + int(rng.choice(len(SOURCES), p=SOURCES))
        chosen = rng.choice(len(store), size=count, p=weights)
        sources[row, :count] = chosen
        recordings = [torch.from_numpy(store.samples(int(i)).astype(np.float32) / 32767.0) for i in chosen]
        waveforms[row] = (mixture(recordings, rate, length, rng).clamp(-1, 1) * 32767.0).short().numpy()
    batches = torch.from_numpy(waveforms.astype(np.float32) / 32767.0).split(32)
    logits, features = zip(*(tagger.tag(batch) for batch in batches), strict=True)
    partial = spec.chunk(number).with_suffix(".partial")
    partial.mkdir(exist_ok=True)
    np.save(partial / "waveforms.npy", waveforms)
    np.save(partial / "logits.npy", torch.cat(logits).half().numpy())
    np.save(partial / "features.npy", torch.cat(features).half().numpy())
    np.save(partial / "sources.npy", sources)
    partial.rename(spec.chunk(number))


def _work(spec: PoolSpec, numbers: range) -> None:
    follow_parent()
    torch.set_num_threads(1)
    store = WaveformStore(spec.store)
    tagger = Tagger(spec.weights, spec.class_labels)
    for number in numbers:
        if not spec.chunk(number).exists():
            make_chunk(spec, store, tagger, number)
            log.info("chunk %d of %s", number, numbers)


def make_pool(spec: PoolSpec, chunks: int, processes: int = 2) -> None:
    """Make the chunks that are not there yet."""
    spec.folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_work, args=(spec, range(first, chunks, processes))) for first in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a pool process failed; what it had made is kept")


class Pool:
    """Made pools, end to end: N mixtures and what the tagger heard.

    `logits` float32 [N, 527], `features` float32 [N, 384]. Waveforms stay on disk and are read a batch at a time.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        chunks = [path for folder in folders for path in sorted(folder.glob("chunk-?????"))]
        if not chunks:
            raise ValueError(f"no finished chunk in {', '.join(map(str, folders))}")
        self._waveforms = [np.load(chunk / "waveforms.npy", mmap_mode="r") for chunk in chunks]
        self.logits = torch.from_numpy(np.concatenate([np.load(chunk / "logits.npy") for chunk in chunks])).float()
        self.features = torch.from_numpy(np.concatenate([np.load(chunk / "features.npy") for chunk in chunks])).float()

    def __len__(self) -> int:
        return len(self.logits)

    def waveforms(self, rows: Tensor) -> Tensor:
        """Rows [b] -> windows float32 [b, samples]."""
        picked = [self._waveforms[row // CHUNK][row % CHUNK] for row in rows.tolist()]
        return torch.from_numpy(np.stack(picked)).float() / 32767.0
