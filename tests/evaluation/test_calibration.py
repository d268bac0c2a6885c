"""Calibration and open-set figures by hand and by simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

from evaluation.calibration import calibration, reliability
from evaluation.embeddings import encode
from evaluation.encoder import Encoder
from evaluation.open_set import TURNS, open_set
from evaluation.prompt_study import TEMPLATES, prompt_study
from evaluation.store import Store
from evaluation.tasks import TASKS
from evaluation.zero_shot import class_embeddings, zero_shot
from model.checkpoint import Checkpoint
from tests.evaluation.layouts import LAYOUTS


def test_calibration_error_by_hand() -> None:
    made = reliability(np.array([0.1, 0.3, 0.8, 0.9]), np.array([False, True, True, True]), bins=2)
    assert made.counts == (2, 2)
    assert made.scores == pytest.approx((0.2, 0.85))
    assert made.right == (0.5, 1.0)
    assert made.error == pytest.approx((0.3 * 2 + 0.15 * 2) / 4)


def test_a_score_of_one_is_in_the_last_bin() -> None:
    assert reliability(np.array([1.0, 0.0]), np.array([True, False]), bins=4).error == 0.0


def test_bins_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(500)
    right = rng.random(500) < scores**2
    share, mean = calibration_curve(right, scores, n_bins=15)
    made = reliability(scores, right)
    assert made.scores == pytest.approx(tuple(mean))
    assert made.right == pytest.approx(tuple(share))


def test_scores_that_mean_what_they_say_have_next_to_no_error() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200_000)
    assert reliability(scores, rng.random(200_000) < scores).error < 0.01


def test_several_classes_a_clip_leave_softmax_out(
    tmp_path: Path, checkpoint: Checkpoint, encoder: Encoder, store: Store
) -> None:
    LAYOUTS["fsd50k"](tmp_path)
    data_set = TASKS["fsd50k"].open(tmp_path)
    encoded = encode(encoder, data_set.clips, store)
    made = calibration(checkpoint, data_set, encoded)
    assert made.softmax is None
    assert sum(made.sigmoid.counts) == 4 * 7
    assert open_set(checkpoint, data_set, encoded) is None


def test_open_set_is_scikit_learn_s_area(
    tmp_path: Path, checkpoint: Checkpoint, encoder: Encoder, store: Store
) -> None:
    LAYOUTS["beijing-opera"](tmp_path)
    data_set = TASKS["beijing-opera"].open(tmp_path)
    encoded = encode(encoder, data_set.clips, store)
    expected = []
    for held in data_set.classes:
        known = [name for name in data_set.classes if name != held]
        labels = class_embeddings(checkpoint, known, [data_set.task.template])
        none = labels.score(encoded.joint, checkpoint.logit_scale, "softmax", none_of_these=True).none_of_these
        expected.append(roc_auc_score([clip.label == held for clip in encoded.clips], none))
    result = open_set(checkpoint, data_set, encoded)
    assert result is not None
    assert result.turns == TURNS
    assert result.none_of_these == pytest.approx(np.mean(expected))


def test_the_prompt_study_asks_the_same_clips_in_other_words(
    tmp_path: Path, checkpoint: Checkpoint, encoder: Encoder, store: Store
) -> None:
    LAYOUTS["crema-d"](tmp_path)
    data_set = TASKS["crema-d"].open(tmp_path)
    encoded = encode(encoder, data_set.clips, store)
    study = prompt_study(checkpoint, data_set, encoded)
    assert list(study) == ["this person is feeling {label}", *TEMPLATES, "all averaged"]
    assert study["{label}"] == zero_shot(checkpoint, data_set, encoded, ["{label}"]).figure
