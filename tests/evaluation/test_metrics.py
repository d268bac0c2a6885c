"""Figures by hand; scikit-learn computes most of them, so what is tested here is how it is asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from evaluation import metrics

TRUTH = np.array([0, 1, 2, 1])
SCORES = np.array([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.0, 0.6, 0.4]])


def test_accuracy_and_confusion_by_hand() -> None:
    assert metrics.accuracy(TRUTH, SCORES) == 0.75
    assert metrics.confusion(TRUTH, SCORES.argmax(axis=1), 3).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_a_class_without_clips_keeps_its_row() -> None:
    assert metrics.confusion(np.array([0, 2]), np.array([0, 0]), 3).tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 10_000))
def test_top_k_equals_scikit_learn_s(classes: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, scores = rng.integers(0, classes, 30), rng.standard_normal((30, classes))
    if k < classes and classes > 2:
        assert metrics.top_k_accuracy(truth, scores, k) == pytest.approx(
            top_k_accuracy_score(truth, scores, k=k, labels=range(classes))
        )


def test_average_precision_by_hand() -> None:
    truth = np.array([[1, 0], [0, 0], [1, 0]], bool)
    scores = np.array([[0.9, 0.1], [0.5, 0.2], [0.1, 0.3]])
    first, second = metrics.average_precisions(truth, scores)
    assert first == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert np.isnan(second)


def test_micro_f1_by_hand() -> None:
    truth = np.array([[1, 1, 0], [0, 0, 1]], bool)
    guesses = np.array([[1, 0, 0], [1, 0, 1]], bool)
    assert metrics.micro_f1(truth, guesses) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))  # 2 found, 1 wrong, 1 missed
    assert metrics.micro_f1(truth, np.zeros_like(truth)) == 0.0


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    assert metrics.auroc(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.4, 0.1])) == 0.75
