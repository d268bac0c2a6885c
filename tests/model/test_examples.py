"""Similarities with examples: the formula, its scale, and what is compared with what."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from model.classify import LabelPrompts
from model.config import ExampleScale
from model.examples import Prototype, ScaleMissing, measured, share
from model.prompts import Embeddings, Label

SCALE = ExampleScale(tau0=0.1, tau1=0.3, a0=0.2, a1=0.7)
AXES = dict(zip(["a dog", "a cat", "noise"], np.eye(8, dtype=np.float32), strict=False))
LABELS = LabelPrompts((Label("dog"), Label("cat")), "a {}", ("noise",))


def unit(*values: float) -> Embeddings:
    vector = np.zeros(8, np.float32)
    vector[: len(values)] = values
    vector /= np.linalg.norm(vector)
    return vector


def examples(count: int, seed: int = 0) -> Embeddings:
    drawn = np.random.default_rng(seed).normal(1, 0.5, (count, 8)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


@pytest.mark.parametrize("count", [1, 4, 32])
def test_a_similarity_with_examples_is_the_formula(count: int) -> None:
    given, x = examples(count), unit(1, 2, 0, 1)
    mean = given.mean(axis=0)
    p = mean / np.linalg.norm(mean)
    weight = count / (count + 3)
    on_text_scale = 0.1 + (x @ p - 0.2) * (0.3 - 0.1) / (0.7 - 0.2)
    wanted = (1 - weight) * (x @ AXES["a dog"]) + weight * on_text_scale
    labels = LABELS.assemble(AXES, {"dog": Prototype.of(given)}, SCALE)
    similarity = labels.score(x, 10, "softmax").similarity
    assert similarity[0] == pytest.approx(wanted, abs=5e-4)  # prototypes are kept in half precision
    assert similarity[1] == pytest.approx(float(x @ AXES["a cat"]), abs=1e-6)


def test_right_and_unrelated_recordings_get_the_similarities_of_right_and_unrelated_texts() -> None:
    p = unit(0, 0, 0, 1)
    labels = LABELS.assemble(AXES, {"dog": Prototype(p, 1_000_000)}, SCALE)
    for cosine, wanted in ((0.7, 0.3), (0.2, 0.1)):
        x = unit(0, 0, 0, cosine, float(np.sqrt(1 - cosine**2)))
        assert labels.similarity(x)[0] == pytest.approx(wanted, abs=1e-3)


def test_more_examples_weigh_more_and_never_everything() -> None:
    assert [share(count) for count in (0, 1, 3, 32)] == [0, 0.25, 0.5, pytest.approx(32 / 35)]


def test_only_some_labels_with_examples_need_the_constants() -> None:
    with pytest.raises(ScaleMissing, match="anysound checkpoint calibrate"):
        LABELS.assemble(AXES, {"dog": Prototype.of(examples(2))})


def test_without_the_constants_all_labels_are_mixed_as_the_one_with_the_fewest_examples() -> None:
    few, many = Prototype.of(examples(1, seed=1)), Prototype.of(examples(30, seed=2))
    labels = LABELS.assemble(AXES, {"dog": few, "cat": many})
    for row, (text, prototype) in enumerate([("a dog", few), ("a cat", many)]):
        mixed = 0.75 * AXES[text] + 0.25 * prototype.mean
        np.testing.assert_allclose(labels.positive[row], mixed / np.linalg.norm(mixed), rtol=1e-6)
    assert not labels.offset.any()


def test_labels_without_examples_score_as_before_to_the_bit() -> None:
    audio = examples(5)
    scores = LABELS.assemble(AXES, {}, SCALE).score(audio, 20, "sigmoid")
    assert (scores.score == LABELS.assemble(AXES).score(audio, 20, "sigmoid").score).all()
    assert (scores.similarity == (audio @ np.stack([AXES["a dog"], AXES["a cat"]]).T).astype(np.float64)).all()


# The constants


def captioned(*counts: int) -> tuple[Embeddings, list[int], Embeddings]:
    """Recordings near the text of their caption, which has that many of them."""
    captions = [caption for caption, count in enumerate(counts) for _ in range(count)]
    texts = np.eye(8, dtype=np.float32)[: len(counts)] + examples(len(counts), seed=1)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    audio = texts[captions] + 0.5 * examples(len(captions))
    audio /= np.linalg.norm(audio, axis=1, keepdims=True)
    return audio, captions, texts


def test_the_constants_are_the_mean_cosines_of_right_and_of_unrelated_pairs() -> None:
    audio, captions, texts = captioned(3, 2, 4)
    own = [[row for row, each in enumerate(captions) if each == caption] for caption in range(3)]
    pairs = [(one, two) for one in range(3) for two in range(3) if one != two]
    right = [np.mean([audio[row] @ texts[caption] for row in own[caption]]) for caption in range(3)]
    unrelated = [np.mean([audio[row] @ texts[two] for row in own[one]]) for one, two in pairs]
    same = [np.mean([audio[a] @ audio[b] for a in rows for b in rows if a != b]) for rows in own]
    other = [np.mean([audio[a] @ audio[b] for a in own[one] for b in own[two]]) for one, two in pairs]
    scale = measured(audio, captions, texts)
    wanted = [float(np.mean(each)) for each in (unrelated, right, other, same)]
    assert [scale.tau0, scale.tau1, scale.a0, scale.a1] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(("counts", "used"), [((3, 2, 1), 5), ((10, 12, 2, 1), 22)])
def test_captions_of_many_recordings_are_measured_if_there_are_two(counts: tuple[int, ...], used: int) -> None:
    audio, captions, texts = captioned(*counts)
    assert measured(audio, captions, texts) == measured(audio[:used], captions[:used], texts)


@pytest.mark.parametrize("counts", [(4,), (1, 1, 1, 1), (4, 1)])
def test_the_constants_need_two_captions_that_several_recordings_have(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two captions that several recordings have"):
        measured(*captioned(*counts))


@pytest.mark.parametrize("constants", [(0.3, 0.1, 0.2, 0.7), (0.1, 0.3, 0.7, 0.2), (0.1, 1.1, 0.2, 0.7)])
def test_constants_that_do_not_separate_are_refused(constants: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        ExampleScale(**dict(zip(("tau0", "tau1", "a0", "a1"), constants, strict=True)))
