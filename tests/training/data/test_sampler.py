"""Batches: a function of the seed and the step alone."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.sampler import Batches, epoch_order


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_the_same_global_batches(world: int) -> None:
    alone = list(Batches(50, 8, 2, seed=3))
    shares = [list(Batches(50, 8, 2, seed=3, rank=rank, world=world)) for rank in range(world)]
    assert [[draw for part in parts for draw in part] for parts in zip(*shares, strict=True)] == alone


def test_every_rank_takes_the_same_number_of_steps_whatever_the_data() -> None:
    for pairs in (8, 9, 15, 16, 17, 1_001):
        assert len({len(list(Batches(pairs, 8, 3, 0, rank, 4))) for rank in range(4)}) == 1


def test_an_epoch_has_a_pair_at_most_once_and_epochs_differ() -> None:
    draws = [draw for batch in Batches(50, 8, 2, seed=0) for draw in batch]
    first, second = ([draw.pair for draw in draws if draw.epoch == epoch] for epoch in (0, 1))
    assert len(set(first)) == len(first) == 48
    assert first != second


def test_a_run_goes_on_at_any_step() -> None:
    whole = list(Batches(50, 8, 2, seed=0))
    for start in range(len(whole) + 1):
        assert list(Batches(50, 8, 2, seed=0, start=start)) == whole[start:]


def test_shards_are_read_one_window_after_the_other() -> None:
    shards = np.repeat(np.arange(40), 1_000)
    order = epoch_order(len(shards), seed=0, epoch=0, shards=shards)
    assert sorted(order) == list(range(len(shards)))
    for first in range(0, len(order), 8_192):
        assert len(np.unique(shards[order[first : first + 8_192]])) <= 10


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="7 pairs do not fill one batch of 8"):
        Batches(7, 8, 1, 0)
    with pytest.raises(ValueError, match="cannot be shared equally by 3 ranks"):
        Batches(80, 8, 1, 0, world=3)
