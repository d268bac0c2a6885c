"""Training and test parts: the data set's own split or folds, else folds that share no source."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from evaluation.metrics import Indices
from evaluation.task import Clip

SEED = 0
"""Seed of the folds made here: the same copy is divided the same way on every run."""


class FoldError(ValueError):
    """A part to train on or to test on would be empty."""


@dataclass(frozen=True)
class Fold:
    """Rows of a list of clips. `val` is for model selection; protocols without selection train on it too."""

    name: str
    train: Indices
    val: Indices
    test: Indices

    @property
    def training(self) -> Indices:
        """All rows that are not in the test part."""
        return np.concatenate([self.train, self.val])


def make_folds(clips: Sequence[Clip], count: int) -> list[Fold]:
    """The clips' own split, else their own folds, else `count` folds, stratified by class, that share no source.

    In cross-validation each fold is the test part once, and the next one is its validation part.
    Raises FoldError where there would be nothing to train on or to test on.
    """
    if any(clip.split for clip in clips):
        splits = np.array([clip.split for clip in clips])
        train, val, test = (np.flatnonzero(splits == split) for split in ("train", "val", "test"))
        made = [Fold("test", train, val, test)]
    elif any(clip.fold for clip in clips):
        made = rotated(np.array([clip.fold for clip in clips]))
    else:
        made = rotated(grouped(clips, count))
    for fold in made:
        for part, rows in (("training", fold.training), ("test", fold.test)):
            if not len(rows):
                raise FoldError(f"fold {fold.name} has no {part} clip")
    return made


def rotated(numbers: Indices) -> list[Fold]:
    """For each fold number: test on it, validate on the next one, train on the rest."""
    names = sorted(set(numbers.tolist()))
    if len(names) < 2:
        raise FoldError(f"every clip is in fold {names[0]}, so there is nothing to train on")
    folds = []
    for place, name in enumerate(names):
        test = numbers == name
        val = (numbers == names[(place + 1) % len(names)]) & (len(names) > 2)
        folds.append(Fold(str(name), *map(np.flatnonzero, (~test & ~val, val, test))))
    return folds


def grouped(clips: Sequence[Clip], count: int) -> Indices:
    """A fold number for each clip, from 1: the same for clips of one source, with classes spread evenly."""
    labels = np.array([clip.label for clip in clips])
    sources = np.array([clip.source or f"clip {row}" for row, clip in enumerate(clips)])
    count = min(count, len(set(sources.tolist())), max(Counter(labels.tolist()).values()))
    if count < 2:
        raise FoldError(f"{len(clips)} clips of {len(set(sources.tolist()))} sources can't be cut into folds")
    numbers = np.zeros(len(clips), np.int64)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer clips than folds is not in every fold
        for number, (_, test) in enumerate(splitter.split(labels, labels, sources), start=1):
            numbers[test] = number
    return numbers


def uncontaminated(rows: Indices, test: Indices, digests: Sequence[bytes]) -> Indices:
    """The training `rows` without copies of test clips: some data sets contain a recording twice."""
    tested = {digests[row] for row in test}
    return np.array([row for row in rows if digests[row] not in tested], np.int64)


def empty(clips: Sequence[Clip], count: int) -> list[int]:
    """Official folds without a clip in this copy."""
    there = {clip.fold for clip in clips} - {0}
    return sorted(set(range(1, count + 1)) - there) if there else []
