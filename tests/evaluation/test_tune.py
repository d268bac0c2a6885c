"""Prompts and thresholds from one's own recordings: chosen on one part, judged on another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.folds import make_folds
from evaluation.metrics import Truth
from evaluation.task import Clip
from evaluation.tune import Judged, Scores, bank, best_threshold, label_set, tuned_label
from model.prompts import Label

CANDIDATES = [("now",), ("better",), ("worse",)]


def scored(separation: float, count: int = 60, level: float = 0.1, seed: int = 0) -> tuple[Scores, Truth]:
    """Scores [recordings] of which a third is right, around a `level`."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 3 == 0
    odds = rng.normal(0, 1, count) + separation * truth + np.log(level / (1 - level))
    return 1 / (1 + np.exp(-odds)), truth


def folds_of(truth: Truth) -> list:  # type: ignore[type-arg]
    clips = [Clip(Path(f"{row}.wav"), ("yes" if right else "no",)) for row, right in enumerate(truth)]
    return make_folds(clips, 5)


def test_the_bank_begins_with_what_the_label_has() -> None:
    prompts = list(bank(Label("dog", ("a dog", "a puppy")), "this is a sound of {label}"))
    assert prompts[:3] == [("a dog", "a puppy"), ("a dog",), ("a puppy",)]
    assert ("i can hear dog",) in prompts
    assert len(prompts[-1]) > 3  # all templates averaged
    assert next(iter(bank(Label("dog"), "the {label}"))) == ("the dog",)


def test_the_threshold_with_the_best_f1_is_found() -> None:
    sigmoid, truth = np.array([0.9, 0.8, 0.7, 0.2, 0.1]), np.array([True, True, False, True, False])
    assert best_threshold(sigmoid, truth, 0.5, None) == pytest.approx(0.15)
    assert best_threshold(sigmoid, truth, 0.5, 1.0) == pytest.approx(0.75)
    assert best_threshold(sigmoid, np.zeros(5, bool), 0.5, None) == 0.5


def test_equal_scores_are_on_one_side_of_a_threshold() -> None:
    sigmoid, truth = np.array([0.6, 0.6, 0.6, 0.2]), np.array([True, True, False, False])
    assert best_threshold(sigmoid, truth, 0.5, None) == pytest.approx(0.4)


def test_a_label_whose_scores_are_low_gets_its_threshold_and_better_prompts() -> None:
    now, truth = scored(2.0)
    better, worse = scored(6.0)[0], scored(0.0)[0]
    tuned = tuned_label(Label("dog"), CANDIDATES, np.stack([now, better, worse]), truth, folds_of(truth), None)
    assert tuned.chosen == "with_prompts"
    assert tuned.label.prompts == ("better",)
    assert tuned.before.f1 < tuned.with_threshold.f1 < tuned.with_prompts.f1
    assert tuned.recordings == truth.sum()
    assert tuned.label.threshold is not None
    assert 0 < tuned.label.threshold < 0.9


def test_what_does_not_help_is_not_changed() -> None:
    now, truth = scored(12.0, level=0.005)
    label = Label("dog", ("now",), ("a wolf",))
    tuned = tuned_label(label, CANDIDATES, np.stack([now, now, now]), truth, folds_of(truth), None)
    assert tuned.before.f1 >= max(tuned.with_threshold.f1, tuned.with_prompts.f1) > 0.9
    assert (tuned.chosen, tuned.label) == ("before", label)


def test_figures_are_those_of_recordings_that_nothing_was_chosen_on() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3 == 0
    noise = rng.uniform(size=(200, 60))  # among so many prompts one fits by chance
    tuned = tuned_label(Label("dog"), [(str(row),) for row in range(200)], noise, truth, folds_of(truth), None)
    best = max(range(200), key=lambda row: float(noise[row, truth].mean() - noise[row, ~truth].mean()))
    fitted = best_threshold(noise[best], truth, 0.5, None)
    assert Judged(*_figures(truth, noise[best] > fitted)).f1 > tuned.with_prompts.f1 + 0.1


def _figures(truth: Truth, guesses: Truth) -> tuple[float, float]:
    hits = float((truth & guesses).sum())
    return hits / guesses.sum(), hits / truth.sum()


def test_a_wanted_precision_is_kept_with_the_most_recall() -> None:
    now, truth = scored(3.0, count=300)
    tuned = [
        tuned_label(Label("dog"), CANDIDATES[:1], now[None], truth, folds_of(truth), precision)
        for precision in (0.6, 0.95)
    ]
    assert tuned[0].judged.recall > tuned[1].judged.recall
    assert tuned[1].judged.precision > tuned[0].judged.precision
    assert tuned[1].judged.precision == pytest.approx(0.95, abs=0.06)


def test_the_label_set_has_what_was_chosen() -> None:
    now, truth = scored(2.0)
    labels = [Label("dog"), Label("cat", ("a cat",), ("a lion",), 0.25)]
    tuned = [tuned_label(each, CANDIDATES[:1], now[None], truth, folds_of(truth), None) for each in labels]
    document = label_set(tuned, "the {label}")
    assert document["template"] == "the {label}"
    assert document["labels"][0] == {"name": "dog", "threshold": tuned[0].label.threshold}
    assert document["labels"][1].keys() == {"name", "prompts", "negative_prompts", "threshold"}
