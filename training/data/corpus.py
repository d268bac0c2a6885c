"""The recordings of a recipe: those to train on and those held out."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.data.datasets import READERS
from training.data.hub_dataset import read_dataset
from training.data.labelled import read_labelled
from training.data.manifest import Captioned, ManifestError, check_distinct, check_present, read_manifest
from training.data.shards import read_shards
from training.recipe import HubDataset, Labelled, Manifest, Recipe, Shards, Source

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


def read_source(source: Source, data: Path, template: str = "{label}", index: Path | None = None) -> list[Captioned]:
    """The recordings of one source; `template` is for labels, where the source has none.

    `index` is the folder that the index of remote shards is kept in.
    Raises ManifestError naming what is missing or cannot be read.
    """
    if isinstance(source, Shards):
        return read_shards(source.locations, data, index)
    if isinstance(source, HubDataset):
        local = data / source.path
        name = str(local) if local.exists() else source.path
        return read_dataset(name, source.config, source.split, source.audio, source.captions)
    path = data / source.path
    if isinstance(source, Labelled):
        return check_present(read_labelled(path, source.templates or (template,)), str(path), 0.0)
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


def read_corpus(recipe: Recipe, data: Path, index: Path | None = None) -> Corpus:
    """The recordings of a recipe; `index` is the folder that the index of remote shards is kept in.

    Raises ManifestError for data that cannot be used, and for too few pairs to fill a batch."""
    template = recipe.checkpoint.prompts.template
    clips = [
        clip if source.weight == 1 else replace(clip, weight=source.weight)
        for source in recipe.data
        for clip in read_source(source, data, template, index)
    ]
    held_out = [clip for source in recipe.validation.data for clip in read_source(source, data, template, index)]
    check_distinct([*clips, *held_out])
    if recipe.limit is not None:
        chosen = np.random.default_rng(recipe.seed).permutation(len(clips))[: recipe.limit]
        clips = [clips[index] for index in sorted(chosen)]
    aside = hold_out(clips, recipe.validation.hold_out)
    kept = set(aside)
    training = [clip for clip in clips if clip not in kept]
    pairs = draws_of(training, drawn=recipe.captions == "drawn")
    if pairs < recipe.batch:
        raise ManifestError(f"{pairs} pairs to train on do not fill one batch of {recipe.batch}")
    return Corpus(tuple(training), (*held_out, *aside))


def draws_of(clips: Sequence[Captioned], drawn: bool) -> int:
    """The number of pairs that an epoch draws from `clips`."""
    counts: Counter[float] = Counter()
    for clip in clips:
        counts[clip.weight] += 1 if drawn else len(clip.captions)
    return sum(round(weight * count) for weight, count in counts.items())


def count_pairs(clips: Sequence[Captioned]) -> int:
    return sum(len(clip.captions) for clip in clips)


def hold_out(clips: Sequence[Captioned], share: float) -> list[Captioned]:
    """The recordings to hold out: those that their data set holds out, and a share of the others.

    Of labelled recordings, groups of one source are held out until each label has at least the share held out; one
    group of a label always stays for training.
    """
    chosen = {clip for clip in clips if clip.held_out}
    open_ones = [clip for clip in clips if clip.held_out is None]
    chosen |= {clip for clip in open_ones if not clip.label and is_held_out(clip, share)}
    labels: dict[str, dict[str, list[Captioned]]] = {}
    for clip in open_ones:
        if clip.label:
            labels.setdefault(clip.label, {}).setdefault(clip.group or clip.name, []).append(clip)
    for groups in labels.values():
        wanted = share * sum(map(len, groups.values()))
        aside = 0
        for _, group in sorted(groups.items(), key=lambda item: _digest(item[1][0]))[:-1]:
            if aside >= wanted:
                break
            chosen.update(group)
            aside += len(group)
    return [clip for clip in clips if clip in chosen]


def is_held_out(clip: Captioned, share: float) -> bool:
    """Whether a recording is held out. Only its name decides: adding recordings does not change the side of others."""
    return _digest(clip) < share * 2**32


def _digest(clip: Captioned) -> int:
    digest = hashlib.blake2b(f"{clip.audio.name}:{clip.offset}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")
