"""Held-out collections as a test of naming."""

from __future__ import annotations

import pytest
import torch

from training.bundled.naming import accuracy, best_scale, collections, logits

ROWS = [
    {"caption": caption, "collection": collection}
    for collection, captions in {"pets": ["dog", "dog", "cat"], "noise": ["", "rain"], "farm": ["cow", "dog"]}.items()
    for caption in captions
]


def test_a_collection_needs_two_captions_to_choose_from() -> None:
    assert collections(ROWS) == [([0, 1, 2], ["cat", "dog"]), ([5, 6], ["cow", "dog"])]


def test_every_caption_and_every_collection_counts_alike() -> None:
    texts = {
        "cat": torch.tensor([0.0, 1.0, 0.0]),
        "dog": torch.tensor([1.0, 0.0, 0.0]),
        "cow": torch.tensor([0.0, 0.0, 1.0]),
    }
    audio = torch.zeros(7, 3)
    audio[0], audio[1], audio[2] = texts["dog"], texts["cat"], texts["cat"]  # one of two dogs is taken for a cat
    audio[5], audio[6] = texts["cow"], texts["cow"]
    found = logits(ROWS, audio, texts)
    assert accuracy(found) == pytest.approx((0.75 + 0.5) / 2)


def test_the_scale_is_high_where_names_are_sure_and_low_where_they_are_not() -> None:
    sure = [(torch.tensor([[0.5, 0.4]]), torch.tensor([0]))]
    unsure = [(torch.tensor([[0.5, 0.4], [0.5, 0.4]]), torch.tensor([0, 1]))]
    assert best_scale(sure) == pytest.approx(100.0)
    assert best_scale(unsure) == pytest.approx(10**0.5)
