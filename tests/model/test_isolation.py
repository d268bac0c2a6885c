"""A bad item costs no other item its embedding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from model.isolation import DeviceFault, embed_each
from service.ipc.embedding import Vectors
from tests.service.fakes import BAD, NOT_FINITE, FakeModel, windows


def test_a_good_batch_runs_once() -> None:
    model = FakeModel()
    outcome = embed_each(model.embed_audio, list(windows(1, 2, 3)), 2)
    assert outcome.vectors[:, 0].tolist() == [1, 2, 3]
    assert not outcome.failed
    assert outcome.fits is None
    assert len(model.batches) == 1


@pytest.mark.parametrize("place", range(8))
def test_a_bad_item_fails_alone_wherever_it_is(place: int) -> None:
    values = [float(n) for n in range(8)]
    values[place] = BAD
    outcome = embed_each(FakeModel().embed_audio, list(windows(*values)), 2)
    assert outcome.failed == {place: "RuntimeError: the forward pass crashed"}
    assert [v for n, v in enumerate(outcome.vectors[:, 0]) if n != place] == [v for v in values if v != BAD]


def test_splitting_costs_few_runs() -> None:
    model = FakeModel()
    embed_each(model.embed_audio, list(windows(*range(63), BAD)), 2)
    assert len(model.batches) == 1 + 2 * 6


def test_several_bad_items_all_fail() -> None:
    outcome = embed_each(FakeModel().embed_audio, list(windows(BAD, 1, BAD, BAD)), 2)
    assert sorted(outcome.failed) == [0, 2, 3]
    assert outcome.vectors[1, 0] == 1


def test_an_embedding_that_is_not_finite_is_a_failure() -> None:
    model = FakeModel()
    outcome = embed_each(model.embed_audio, list(windows(1, NOT_FINITE, 3)), 2)
    assert outcome.failed == {1: "the embedding is not finite"}
    assert outcome.vectors[:, 0].tolist() == [1, 0, 3]
    assert len(model.batches) == 1, "the others' embeddings stand"


def test_out_of_memory_halves_and_goes_on() -> None:
    model = FakeModel(room=5)
    outcome = embed_each(model.embed_audio, list(windows(*range(16))), 2)
    assert outcome.vectors[:, 0].tolist() == list(range(16))
    assert not outcome.failed
    assert outcome.fits == 4


def test_an_item_that_never_fits_fails() -> None:
    outcome = embed_each(FakeModel(room=0).embed_audio, list(windows(1, 2)), 2)
    assert sorted(outcome.failed) == [0, 1]


def test_a_device_fault_is_nobodys_fault() -> None:
    def broken(_: Sequence[Vectors]) -> Vectors:
        raise DeviceFault("CUDA error: device-side assert triggered")

    with pytest.raises(DeviceFault):
        embed_each(broken, list(windows(1, 2)), 2)


def test_works_for_prompts() -> None:
    outcome = embed_each(FakeModel().embed_text, ["dog", "rain"], 2)
    assert np.array_equal(outcome.vectors, [[3, 0], [4, 0]])
