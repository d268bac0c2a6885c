"""Checks before a run: ranks and their network, the shared folder, the data. `anysound train doctor` prints them."""

from __future__ import annotations

import os
import platform
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.distributed as dist

from model.audio import AudioError
from training.data.corpus import count_pairs
from training.data.manifest import Captioned, ManifestError
from training.data.segments import read_segment
from training.loop.ranks import Ranks, on_leader
from training.loop.run import read_together
from training.loop.state import StateError
from training.recipe import Recipe, RecipeError
from training.start.start import check_paths

MEGABYTES = 64
"""Size of the sum over ranks that is timed: gradients of 16 M parameters."""
ROUNDS = 5
SAMPLE = 32
"""Recordings that each rank decodes."""


@dataclass(frozen=True)
class Finding:
    """The outcome of a check."""

    check: str
    good: bool
    detail: str


def examine(recipe: Recipe, data: Path, run: Path, ranks: Ranks) -> Iterator[Finding]:
    """Check everything that a run of `recipe` needs, one finding at a time. All ranks must call it together."""
    yield from guarded("ranks", lambda: alike(ranks))
    yield from guarded("network", lambda: all_reduce(ranks))
    yield from guarded("run's folder", lambda: shared(run, ranks))
    yield from guarded("recipe", lambda: checked(recipe, data, ranks))
    clips: list[Captioned] = []

    def read() -> str:
        corpus = read_together(recipe, data, run, ranks)
        clips.extend(corpus.training)
        held_out = len(corpus.validation)
        return f"{len(clips):,} recordings with {count_pairs(clips):,} captions, {held_out:,} held out"

    yield from guarded("data", read)
    if clips:
        yield from guarded("reading", lambda: decode(recipe, clips, ranks))


def guarded(check: str, work: Callable[[], str]) -> Iterator[Finding]:
    """The finding of `work`, which returns a detail or raises."""
    try:
        yield Finding(check, True, work())
    except (RecipeError, ManifestError, StateError, OSError, RuntimeError) as error:
        yield Finding(check, False, str(error))


def alike(ranks: Ranks) -> str:
    """Raises RuntimeError where ranks run other versions."""
    mine = (platform.python_version(), torch.__version__, ranks.device.type)
    everyone = cast("list[tuple[str, str, str]]", ranks.collect(mine))
    if len(set(everyone)) > 1:
        rank = next(rank for rank, its in enumerate(everyone) if its != everyone[0])
        raise RuntimeError(f"rank 0 has (Python, torch, device) {everyone[0]}, rank {rank} has {everyone[rank]}")
    hosts = cast("list[str]", ranks.collect(socket.gethostname()))
    return f"{ranks.world} on {len(set(hosts))} hosts, Python {mine[0]}, torch {mine[1]}, {mine[2]}"


def all_reduce(ranks: Ranks) -> str:
    """Sum a tensor over ranks. Raises RuntimeError where the sum is wrong."""
    if ranks.world == 1:
        return "one rank: nothing to measure"
    values = torch.ones(MEGABYTES << 18, device=ranks.device)
    took = []
    for _ in range(ROUNDS):
        values.fill_(ranks.rank + 1)
        began = time.perf_counter()
        dist.all_reduce(values)
        right = bool((values == ranks.world * (ranks.world + 1) / 2).all())  # waits for the device too
        took.append(time.perf_counter() - began)
        if not right:
            raise RuntimeError(f"the sum over ranks is wrong on rank {ranks.rank}")
    slowest = max(cast("list[float]", ranks.collect(float(np.median(took)))))
    # Each rank sends and receives 2 (n - 1) / n of the tensor.
    speed = 2 * (ranks.world - 1) / ranks.world * MEGABYTES / 1024 / slowest
    return f"a sum of {MEGABYTES} MiB over {dist.get_backend()} takes {slowest * 1e3:.0f} ms ({speed:.2f} GiB/s)"


def shared(run: Path, ranks: Ranks) -> str:
    """Raises RuntimeError where a rank does not see what the leader writes to the run's folder."""
    token = cast("str", ranks.collect(uuid.uuid4().hex)[0])
    place = run / f"doctor-{token}"

    def write() -> None:
        try:
            run.mkdir(parents=True, exist_ok=True)
            place.write_text(token)
        except OSError as error:
            raise StateError(f"{run} cannot be written: {error.strerror}") from None

    on_leader(ranks, write)
    seen = ranks.collect(place.exists())
    if ranks.leader:
        place.unlink()
    if not all(seen):
        raise RuntimeError(f"rank {seen.index(False)} does not see {run} of rank 0: all nodes must share the folder")
    space = os.statvfs(run)
    return f"{run} is written and seen by all ranks, {space.f_bavail * space.f_frsize / 1e9:.0f} GB free"


def checked(recipe: Recipe, data: Path, ranks: Ranks) -> str:
    recipe.check(data, ranks.world)
    check_paths(recipe, data)
    return f"batches of {recipe.batch}, {recipe.batch // ranks.world} on each rank"


def decode(recipe: Recipe, clips: list[Captioned], ranks: Ranks) -> str:
    """Read segments of a sample of recordings. Raises RuntimeError where more cannot be read than the recipe allows."""
    front_end = recipe.checkpoint.front_end
    rng = np.random.default_rng(ranks.rank)
    sample = [clips[index] for index in rng.permutation(len(clips))[:SAMPLE]]
    broken: dict[str, str] = {}
    began = time.perf_counter()
    for clip in sample:
        try:
            read_segment(clip.source, front_end.sample_rate, front_end.window_samples, front_end.padding, rng)
        except (AudioError, OSError) as error:
            broken[clip.name] = str(error)
    rate = len(sample) / (time.perf_counter() - began)
    found = cast("list[tuple[float, dict[str, str]]]", ranks.collect((rate, broken)))
    causes = {name: cause for _, part in found for name, cause in part.items()}
    read = len(sample) * ranks.world
    if len(causes) > recipe.loading.max_broken * read:
        name, cause = next(iter(causes.items()))
        raise RuntimeError(f"{len(causes)} of {read} recordings cannot be read; {name}: {cause}")
    slowest = min(rate for rate, _ in found)
    workers = max(recipe.loading.workers, 1)
    return (
        f"{len(causes)} of {read} cannot be read; {slowest:.0f} clips/s in one process, {workers} workers on each rank"
    )
