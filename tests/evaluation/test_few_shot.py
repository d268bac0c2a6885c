"""Figures with examples: drawn from other folds, spread over draws, never on the clips they are drawn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.embeddings import Encoded
from evaluation.few_shot import few_shot, support
from evaluation.folds import FoldError, make_folds
from evaluation.task import Clip, DataSet, Task
from model.checkpoint import Checkpoint
from model.config import ExampleScale

CLASSES = ("dog", "rain", "cat", "siren")
PER_CLASS = 12
TASK = Task("made", "Made", "", lambda _: [], CLASSES, 4, {}, folds=3)


def made(spread: float = 0.5, folds: int = 3) -> tuple[DataSet, Encoded]:
    """Clips in one cluster for each class, in so many folds."""
    rng = np.random.default_rng(0)
    clips = [
        Clip(Path(f"{name}-{number}.wav"), (name,), fold=1 + number % folds)
        for name in CLASSES
        for number in range(PER_CLASS)
    ]
    centres = np.repeat(np.eye(16, dtype=np.float32)[:4], PER_CLASS, axis=0)
    joint = (centres + spread * rng.normal(0, 0.5, centres.shape)).astype(np.float32)
    joint /= np.linalg.norm(joint, axis=1, keepdims=True)
    digests = tuple(str(row).encode() for row in range(len(clips)))
    return DataSet(TASK, Path(), CLASSES, tuple(clips)), Encoded(tuple(clips), joint, joint, digests, (), len(clips))


@pytest.fixture
def calibrated(checkpoint: Checkpoint) -> Checkpoint:
    scale = ExampleScale(tau0=0.0, tau1=0.3, a0=0.0, a1=0.6)
    return replace(checkpoint, config=checkpoint.config.model_copy(update={"example_scale": scale}))


def test_examples_are_never_of_the_test_part_or_a_copy_of_a_clip_in_it() -> None:
    _, encoded = made()
    truth = np.repeat(np.eye(4, dtype=bool), PER_CLASS, axis=0)
    for fold in make_folds(encoded.clips, 3):
        drawn = support(fold, truth, encoded.digests, np.random.default_rng(0))
        assert all(not set(rows.tolist()) & set(fold.test.tolist()) for rows in drawn.values())
        assert all(truth[rows, number].all() for number, rows in drawn.items())
        copied = [
            encoded.digests[fold.test[0]] if row == drawn[0][0] else each for row, each in enumerate(encoded.digests)
        ]
        again = support(fold, truth, copied, np.random.default_rng(0))
        assert drawn[0][0] not in again[0]


def test_names_that_say_nothing_and_examples_that_do(calibrated: Checkpoint) -> None:
    data_set, encoded = made()
    zero, one, many = few_shot(calibrated, data_set, encoded, [1, 8], draws=4)
    assert (zero.count, len(zero.draws), one.count, len(one.draws)) == (0, 1, 1, 4)
    figures = [shot.spread("figure") for shot in (zero, one, many)]
    assert all(figures)
    means = [each.mean for each in figures if each]
    assert means[0] < 0.5 < means[1] < means[2]
    half, open_set = many.spread("half"), many.spread("none_of_these")
    assert half is not None
    assert open_set is not None
    assert half.least <= half.mean < means[2]
    assert 0.5 < open_set.mean <= 1


def test_the_same_draws_are_made_on_every_run(calibrated: Checkpoint) -> None:
    data_set, encoded = made()
    runs = [few_shot(calibrated, data_set, encoded, counts, draws=3)[-1] for counts in ([4], [1, 4])]
    assert runs[0] == runs[1]


def test_without_the_constants_there_is_no_figure_for_half_of_the_classes(checkpoint: Checkpoint) -> None:
    data_set, encoded = made()
    _, one = few_shot(checkpoint, data_set, encoded, [2], draws=2)
    assert one.spread("figure") is not None
    assert one.spread("half") is None


def test_classes_with_too_few_clips_are_counted(calibrated: Checkpoint) -> None:
    data_set, encoded = made()
    assert [shot.short for shot in few_shot(calibrated, data_set, encoded, [8, 9], draws=1)] == [0, 0, 4]


def test_several_labels_per_clip_are_measured_by_the_task_s_metric(calibrated: Checkpoint) -> None:
    data_set, encoded = made()
    several = replace(data_set, task=replace(TASK, metric="mAP"))
    zero, four = few_shot(calibrated, several, encoded, [4], draws=2)
    assert zero.draws[0].none_of_these is None
    assert four.draws[0].figure > zero.draws[0].figure


def test_a_task_without_folds_says_so(calibrated: Checkpoint) -> None:
    data_set, encoded = made(folds=1)
    with pytest.raises(FoldError, match="nothing to train on"):
        few_shot(calibrated, data_set, encoded, [1], draws=1)
