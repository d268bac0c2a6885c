"""From labels to prompts, and from embeddings to ranked scores."""

from __future__ import annotations

import numpy as np
import pytest

from model.classify import LabelPrompts, clip_embedding, ranked
from model.prompts import Label

AXES = dict(zip(["a dog", "a cat", "a toy", "noise"], np.eye(4, dtype=np.float32), strict=True))


def prompts(*labels: Label) -> LabelPrompts:
    return LabelPrompts(labels, "a {}", ("noise",))


def test_every_prompt_is_embedded_once() -> None:
    wanted = prompts(Label("dog"), Label("cat", ("a cat", "a dog")), Label("toy", negative_prompts=("a dog",)))
    assert wanted.prompts == ["a dog", "a cat", "a toy", "noise"]


def test_the_label_whose_prompt_is_nearest_wins() -> None:
    labels = prompts(Label("dog"), Label("cat")).assemble(AXES)
    scores = labels.score(AXES["a cat"], 10.0, "softmax")
    assert ranked(["dog", "cat"], scores.score, scores.similarity, 1)[0][0] == "cat"
    assert scores.none_of_these is None


def test_a_label_with_several_prompts_is_their_ensemble() -> None:
    labels = prompts(Label("pet", ("a dog", "a cat"))).assemble(AXES)
    np.testing.assert_allclose(labels.positive[0], np.array([1, 1, 0, 0]) / np.sqrt(2), rtol=1e-6)


def test_a_negative_prompt_takes_from_its_own_label_alone() -> None:
    audio = np.array([1, 1, 1, 0], np.float32) / np.sqrt(3)
    without = prompts(Label("dog"), Label("cat")).assemble(AXES).score(audio, 10.0, "softmax").score
    with_toy = prompts(Label("dog", negative_prompts=("a toy",)), Label("cat")).assemble(AXES)
    got = with_toy.score(audio, 10.0, "softmax").score
    assert without[0] == pytest.approx(without[1])
    assert got[0] == pytest.approx(got[1] / 2)


def test_with_none_of_these_the_softmax_shares_one_with_it() -> None:
    labels = prompts(Label("dog"), Label("cat")).assemble(AXES)
    scores = labels.score(AXES["noise"], 10.0, "softmax", none_of_these=True)
    assert scores.none_of_these is not None
    assert scores.score.sum() + float(scores.none_of_these) == pytest.approx(1.0)
    assert float(scores.none_of_these) > 0.99


def test_windows_and_clips_are_scored_by_the_same_call() -> None:
    labels = prompts(Label("dog"), Label("cat")).assemble(AXES)
    windows = np.stack([AXES["a dog"], AXES["a cat"]])
    assert labels.score(windows, 10.0, "sigmoid").score.shape == (2, 2)
    np.testing.assert_allclose(clip_embedding(windows), np.array([1, 1, 0, 0]) / np.sqrt(2), rtol=1e-6)


def test_equal_scores_keep_the_order_of_the_labels() -> None:
    same = np.zeros(3)
    assert [name for name, *_ in ranked(["b", "a", "c"], same, same, None)] == ["b", "a", "c"]
