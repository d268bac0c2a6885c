"""Scores mean what the contract says they mean."""

from __future__ import annotations

import numpy as np
import pytest

from model import scores

SIMILARITY = np.array([0.6, 0.2, 0.1])
BACKGROUND = np.array([0.25, 0.3])
SCALE = 25.0


def test_softmax_is_over_scale_times_similarity_and_sums_to_one() -> None:
    got = scores.softmax(scores.logits(SIMILARITY, SCALE))
    expected = np.exp(SCALE * SIMILARITY) / np.exp(SCALE * SIMILARITY).sum()
    np.testing.assert_allclose(got, expected)


def test_softmax_survives_the_largest_scale() -> None:
    got = scores.softmax(scores.logits(np.array([1.0, -1.0]), 100.0))
    np.testing.assert_allclose(got, [1.0, 0.0], atol=1e-12)


def test_open_set_scores_and_none_of_these_share_one() -> None:
    labels, none = scores.open_set_softmax(scores.logits(SIMILARITY, SCALE), BACKGROUND, SCALE)
    assert labels.sum() + none == pytest.approx(1.0)


def test_none_of_these_wins_where_every_label_is_farther_than_the_background() -> None:
    far = scores.logits(np.array([0.0, -0.1]), SCALE)
    _, none = scores.open_set_softmax(far, BACKGROUND, SCALE)
    assert none > 0.99


def test_open_set_scores_are_a_softmax_with_the_background_prompts_as_more_labels() -> None:
    labels, none = scores.open_set_softmax(scores.logits(SIMILARITY, SCALE), BACKGROUND, SCALE)
    expected = scores.softmax(SCALE * np.concatenate([SIMILARITY, BACKGROUND]))
    np.testing.assert_allclose(labels, expected[:3])
    assert none == pytest.approx(expected[3:].sum())


def test_sigmoid_is_a_half_at_the_background_and_near_zero_for_an_unrelated_label() -> None:
    tie, unrelated, near = scores.contrast_sigmoid(
        scores.logits(np.array([0.3, 0.0, 0.6]), SCALE), np.array([0.3]), SCALE
    )
    assert tie == pytest.approx(0.5)
    assert unrelated < 0.001
    assert near > 0.999


def test_sigmoid_scores_do_not_depend_on_the_other_labels() -> None:
    alone = scores.contrast_sigmoid(scores.logits(SIMILARITY[:1], SCALE), BACKGROUND, SCALE)
    together = scores.contrast_sigmoid(scores.logits(SIMILARITY, SCALE), BACKGROUND, SCALE)
    assert together[0] == pytest.approx(alone[0])


def test_a_negative_prompt_takes_half_where_it_ties_and_nothing_where_it_is_absent() -> None:
    plain = scores.logits(SIMILARITY, SCALE)
    shared = scores.logits(SIMILARITY, SCALE, np.array([0.6, -np.inf, -np.inf]))
    assert shared[0] == pytest.approx(plain[0] + np.log(0.5))
    np.testing.assert_allclose(shared[1:], plain[1:])
