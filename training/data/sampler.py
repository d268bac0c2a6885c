"""The pairs of each batch: a function of the seed and the step, independent of the number of ranks and workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Order = npt.NDArray[np.int64]

SHARD_WINDOW = 8_192


class Draw(NamedTuple):
    """One pair of one epoch; with the run's seed it determines the segment and the caption."""

    epoch: int
    pair: int


def epoch_order(pairs: int, seed: int, epoch: int, shards: Order | None = None) -> Order:
    """A permutation of `pairs`, different in every epoch.

    With `shards` [pairs], the number of each pair's shard, the shards are shuffled, and then the pairs within windows
    of 8,192: reads stay local, as with a shuffle buffer.
    """
    rng = np.random.default_rng((seed, epoch))
    if shards is None:
        return rng.permutation(pairs)
    place = rng.permutation(int(shards.max()) + 1)
    order: Order = np.argsort(place[shards], kind="stable")
    for first in range(0, pairs, SHARD_WINDOW):
        rng.shuffle(order[first : first + SHARD_WINDOW])
    return order


class Batches:
    """One rank's share of every batch from step `start` on. Pairs left over at the end of an epoch are not used.

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
    ) -> None:
        if pairs < batch:
            raise ValueError(f"{pairs} pairs do not fill one batch of {batch}")
        if batch % world:
            raise ValueError(f"a batch of {batch} cannot be shared equally by {world} ranks")
        self.pairs, self.batch, self.seed, self.shards = pairs, batch, seed, shards
        self.share = slice(rank * batch // world, (rank + 1) * batch // world)
        self.steps_per_epoch = pairs // batch
        self.start, self.steps = start, epochs * self.steps_per_epoch

    def __len__(self) -> int:
        return max(self.steps - self.start, 0)

    def __iter__(self) -> Iterator[list[Draw]]:
        order, of_epoch = np.empty(0, np.int64), -1
        for step in range(self.start, self.steps):
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != of_epoch:
                order, of_epoch = epoch_order(self.pairs, self.seed, epoch, self.shards), epoch
            rows = order[position * self.batch : (position + 1) * self.batch][self.share]
            yield [Draw(epoch, int(row)) for row in rows]
