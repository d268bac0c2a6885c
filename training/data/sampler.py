"""The pairs of each batch: a function of the seed and the step, independent of the number of ranks and workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Order = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]

SHARD_WINDOW = 8_192


class Draw(NamedTuple):
    """One pair of one epoch; with the run's seed it determines the segment and the caption."""

    epoch: int
    pair: int


def weighted(weights: Weights, rng: np.random.Generator) -> Order:
    """Each pair as often as the whole part of its weight [pairs], and once more with the chance of the fraction."""
    drawn = [np.repeat(np.arange(len(weights)), weights.astype(np.int64))]
    for weight in np.unique(weights):
        rows = np.flatnonzero(weights == weight)
        more = round(weight * len(rows)) - int(weight) * len(rows)
        drawn.append(rng.permutation(rows)[:more])
    return np.concatenate(drawn)


def epoch_order(
    pairs: int, seed: int, epoch: int, shards: Order | None = None, weights: Weights | None = None
) -> Order:
    """A permutation of `pairs`, different in every epoch; with `weights`, of pairs that are drawn so often.

    With `shards` [pairs], the number of each pair's shard, the shards are shuffled, and then the pairs within windows
    of 8,192: reads stay local, as with a shuffle buffer.
    """
    rng = np.random.default_rng((seed, epoch))
    drawn = None if weights is None else weighted(weights, rng)
    if shards is None:
        return rng.permutation(pairs if drawn is None else drawn)
    place = rng.permutation(int(shards.max()) + 1)
    places = place[shards if drawn is None else shards[drawn]]
    order: Order = np.argsort(places, kind="stable")
    if drawn is not None:
        order = drawn[order]
    for first in range(0, len(order), SHARD_WINDOW):
        rng.shuffle(order[first : first + SHARD_WINDOW])
    return order


class Batches:
    """One rank's share of every batch from step `start` on. Pairs left over at the end of an epoch are not used.

    An epoch is one pass over the pairs; `steps` in place of `epochs` ends within one.
    The step alone determines the position: a run resumes with `start` at its last step, and all ranks make the same
    number of steps. Raises ValueError where the sizes do not divide.
    """

    def __init__(
        self,
        pairs: int,
        batch: int,
        epochs: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
        shards: Order | None = None,
        steps: int | None = None,
        weights: Weights | None = None,
    ) -> None:
        self.weights = weights
        self.drawn = pairs
        if weights is not None:
            pairs = len(weighted(weights, np.random.default_rng(0)))
        if pairs < batch:
            raise ValueError(f"{pairs} pairs do not fill one batch of {batch}")
        if batch % world:
            raise ValueError(f"a batch of {batch} cannot be shared equally by {world} ranks")
        self.batch, self.seed, self.shards = batch, seed, shards
        self.share = slice(rank * batch // world, (rank + 1) * batch // world)
        self.steps_per_epoch = pairs // batch
        self.start, self.steps = start, epochs * self.steps_per_epoch if steps is None else steps

    def __len__(self) -> int:
        return max(self.steps - self.start, 0)

    def __iter__(self) -> Iterator[list[Draw]]:
        order, of_epoch = np.empty(0, np.int64), -1
        for step in range(self.start, self.steps):
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != of_epoch:
                order = epoch_order(self.drawn, self.seed, epoch, self.shards, self.weights)
                of_epoch = epoch
            rows = order[position * self.batch : (position + 1) * self.batch][self.share]
            yield [Draw(epoch, int(row)) for row in rows]
