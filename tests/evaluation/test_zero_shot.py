"""Zero-shot figures of every task equal scikit-learn's over the same similarities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    recall_score,
    top_k_accuracy_score,
)

from evaluation.embeddings import TooFewRead, encode
from evaluation.encoder import Encoder
from evaluation.store import Store
from evaluation.tasks import TASKS
from evaluation.zero_shot import THRESHOLD, Result, class_embeddings, evaluate, indices, truth_matrix, zero_shot
from model.checkpoint import Checkpoint
from model.embed import clip_windows, embed_prompts, embed_windows
from model.scores import contrast_sigmoid
from tests.evaluation.layouts import LAYOUTS

SINGLE = sorted(name for name, task in TASKS.items() if task.metric == "accuracy")
SEVERAL = sorted(name for name, task in TASKS.items() if task.multilabel)


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_label_task_has_scikit_learn_s_figures(
    name: str, tmp_path: Path, checkpoint: Checkpoint, encoder: Encoder, store: Store
) -> None:
    LAYOUTS[name](tmp_path)
    data_set = TASKS[name].open(tmp_path)
    result = zero_shot(checkpoint, data_set, encode(encoder, data_set.clips, store))
    prompts = [TASKS[name].template.replace("{label}", label) for label in data_set.classes]
    text = embed_prompts(checkpoint, prompts)
    audio = encode(encoder, data_set.test, store).joint
    similarity = audio @ text.T
    true = [data_set.classes.index(clip.label) for clip in data_set.test]
    guessed = similarity.argmax(axis=1)
    everything = range(len(data_set.classes))
    assert result.clips == len(data_set.test)
    assert result.figure == pytest.approx(accuracy_score(true, guessed))
    np.testing.assert_array_equal(result.confusion, confusion_matrix(true, guessed, labels=everything))
    recalls = recall_score(true, guessed, labels=everything, average=None, zero_division=0)
    assert list(result.per_class.values()) == pytest.approx(list(recalls))
    if len(data_set.classes) > 5:
        assert result.figures["top5"] == pytest.approx(top_k_accuracy_score(true, similarity, k=5, labels=everything))


@pytest.mark.parametrize("name", SEVERAL)
def test_a_multi_label_task_has_scikit_learn_s_figures(
    name: str, tmp_path: Path, checkpoint: Checkpoint, encoder: Encoder, store: Store
) -> None:
    LAYOUTS[name](tmp_path)
    data_set = TASKS[name].open(tmp_path)
    encoded = encode(encoder, data_set.test, store)
    result = zero_shot(checkpoint, data_set, encoded)
    labels = class_embeddings(checkpoint, data_set.classes, [data_set.task.template])
    similarity = encoded.joint @ labels.positive.T
    truth = truth_matrix(encoded.clips, data_set.classes)
    there = np.flatnonzero(truth.any(axis=0))
    expected = average_precision_score(truth[:, there], similarity[:, there], average="macro")
    assert result.figures["mAP"] == pytest.approx(expected)
    background = (encoded.joint @ labels.background.T).astype(np.float64)
    scale = checkpoint.logit_scale
    logits = scale * similarity.astype(np.float64)
    scores = np.hstack([contrast_sigmoid(logits[:, [column]], background, scale) for column in range(truth.shape[1])])
    assert result.figures["F1"] == pytest.approx(f1_score(truth, scores >= THRESHOLD, average="micro", zero_division=0))
    best = np.eye(truth.shape[1], dtype=np.bool_)[similarity.argmax(axis=1)]
    assert result.figures["F1 of the best label"] == pytest.approx(f1_score(truth, best, average="micro"))
    assert result.figure == result.figures[result.metric]
    assert set(result.per_class) == {data_set.classes[index] for index in there}


def test_a_multi_label_truth_by_hand(tmp_path: Path) -> None:
    LAYOUTS["dcase2017-task4"](tmp_path)
    data_set = TASKS["dcase2017-task4"].open(tmp_path)
    assert data_set.classes == ("Train horn", "Air horn, truck horn", "Car alarm", "Screaming", "Truck", "Train")
    rows = truth_matrix(data_set.test, data_set.classes).tolist()
    truth = {clip.path.stem[:5]: row for clip, row in zip(data_set.test, rows, strict=True)}
    assert truth == {
        "Y-fCS": [True, False, False, False, False, True],
        "Y0dIs": [False, False, False, True, False, False],
        "Y1vYA": [False, False, False, False, True, False],
    }


def test_several_templates_are_averaged(checkpoint: Checkpoint) -> None:
    both = class_embeddings(checkpoint, ["dog", "rain"], ["{label}", "this is a sound of {label}"]).positive
    each = [
        class_embeddings(checkpoint, ["dog", "rain"], [t]).positive for t in ("{label}", "this is a sound of {label}")
    ]
    mean = (each[0] + each[1]) / 2
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(("right", "at_chance"), [(25, True), (33, True), (34, False), (90, False), (3, True)])
def test_within_two_standard_errors_of_guessing_is_at_chance(right: int, at_chance: bool) -> None:
    classes = ("a", "b", "c", "d")
    result = Result("t", "T", "accuracy", ("{label}",), classes, 100, {"accuracy": right / 100}, {})
    assert result.at_chance == at_chance


def test_evaluation_hears_what_the_service_hears(tmp_path: Path, checkpoint: Checkpoint) -> None:
    LAYOUTS["beijing-opera"](tmp_path)
    data_set = TASKS["beijing-opera"].open(tmp_path)
    text = class_embeddings(checkpoint, data_set.classes, [data_set.task.template]).positive
    audio = np.concatenate(
        [embed_windows(checkpoint, clip_windows(clip.path, checkpoint)[0]) for clip in data_set.clips]
    )
    expected = ((audio @ text.T).argmax(axis=1) == indices(data_set.clips, data_set.classes)).mean()
    assert evaluate(checkpoint, data_set).figure == pytest.approx(expected)


def test_a_test_split_that_can_not_be_read_is_an_error_though_the_rest_can(
    tmp_path: Path, checkpoint: Checkpoint, encoder: Encoder, store: Store
) -> None:
    LAYOUTS["fsd50k"](tmp_path)
    data_set = TASKS["fsd50k"].open(tmp_path)
    for clip in data_set.test[:3]:
        clip.path.write_bytes(b"not audio")
    encoded = encode(encoder, data_set.clips, store)
    with pytest.raises(TooFewRead, match="3 of 4 test clips can't be read"):
        zero_shot(checkpoint, data_set, encoded)
