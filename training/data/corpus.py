"""The recordings of a recipe: those to train on and those held out."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.datasets import READERS
from training.data.manifest import Captioned, ManifestError, check_distinct, check_present, read_manifest
from training.data.shards import read_shards
from training.recipe import Layout, Manifest, Recipe, Shards

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpus:
    training: tuple[Captioned, ...]
    validation: tuple[Captioned, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names and captions: a run resumes only on the data it was started with."""
        digest = hashlib.sha256()
        for clip in (*self.training, *self.validation):
            digest.update(f"{clip.audio.name}\0{clip.offset}\0{clip.captions}\n".encode())
        return digest.hexdigest()


def read_source(source: Layout | Manifest | Shards, data: Path) -> list[Captioned]:
    """The recordings of one source. Raises ManifestError naming what is missing or cannot be read."""
    path = data / source.path
    if isinstance(source, Shards):
        return read_shards(path)
    if isinstance(source, Manifest):
        clips = read_manifest(path, source.skip_uncaptioned)
    elif source.splits is None:
        clips = READERS[source.kind](path)
    else:
        clips = READERS[source.kind](path, source.splits)
    present = check_present(clips, f"{source.kind} {path}", source.max_missing)
    if len(present) < len(clips):
        log.warning("%s: %d of %d recordings are missing", path, len(clips) - len(present), len(clips))
    return present


def read_corpus(recipe: Recipe, data: Path) -> Corpus:
    """Raises ManifestError for data that cannot be used, and for too few pairs to fill a batch."""
    clips = [clip for source in recipe.data for clip in read_source(source, data)]
    held_out = [clip for source in recipe.validation.data for clip in read_source(source, data)]
    check_distinct([*clips, *held_out])
    if recipe.limit is not None:
        chosen = np.random.default_rng(recipe.seed).permutation(len(clips))[: recipe.limit]
        clips = [clips[index] for index in sorted(chosen)]
    aside = [clip for clip in clips if is_held_out(clip, recipe.validation.hold_out)]
    kept = set(aside)
    training = [clip for clip in clips if clip not in kept]
    pairs = count_pairs(training)
    if pairs < recipe.batch:
        raise ManifestError(f"{pairs} pairs to train on do not fill one batch of {recipe.batch}")
    return Corpus(tuple(training), (*held_out, *aside))


def count_pairs(clips: Sequence[Captioned]) -> int:
    return sum(len(clip.captions) for clip in clips)


def is_held_out(clip: Captioned, share: float) -> bool:
    """Whether a recording is held out. Only its name decides: adding recordings does not change the side of others."""
    digest = hashlib.blake2b(f"{clip.audio.name}:{clip.offset}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") < share * 2**32
