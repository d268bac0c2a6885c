"""A probe learns from training clips only, and reports the spread of its figure over seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from evaluation.embeddings import Encoded, encode
from evaluation.encoder import Encoder
from evaluation.fine_tune import FineTuning, Network, fine_tune
from evaluation.probe import PROTOCOLS, Classifier, Protocol, probe, score, train
from evaluation.store import Store
from evaluation.task import Clip, DataSet
from evaluation.tasks import TASKS
from tests.evaluation.layouts import LAYOUTS

QUICK_HEAR = Protocol(
    "hear",
    "HEAR",
    tuple(replace(one, hidden=(16,) * len(one.hidden), epochs=30) for one in PROTOCOLS["hear"].classifiers),
)


QUICK_3 = Protocol("frozen-3", "frozen, 3 layers", (Classifier(hidden=(32, 32), rate=1e-2),))


def blobs(clips: int, seed: int = 0, apart: float = 3.0) -> tuple[DataSet, Encoded]:
    """Features in two clouds, one a class, as if an encoder had heard them."""
    rng = np.random.default_rng(seed)
    task = replace(TASKS["gtzan-music-speech"], folds=4)
    made = tuple(Clip(Path(f"{n}.wav"), (task.classes[n % 2],)) for n in range(clips))  # type: ignore[index]
    features = rng.standard_normal((clips, 64)).astype(np.float32)
    features[::2] += apart / 8  # `apart` deviations along the line between the clouds
    digests = tuple(bytes([n]) for n in range(clips))
    data_set = DataSet(task, Path(), ("music", "speech"), made)
    return data_set, Encoded(made, features, features, digests, (), clips)


@pytest.mark.parametrize("protocol", [PROTOCOLS["frozen-1"], QUICK_3, QUICK_HEAR], ids=lambda p: p.name)
def test_what_can_be_told_apart_is_learned(protocol: Protocol) -> None:
    result = probe(*blobs(160, apart=12.0), protocol, seeds=(0, 1))
    assert result.figure > 0.95
    assert np.shape(result.figures) == (2, 4)


def test_labels_without_a_sense_are_not_learned() -> None:
    """A test clip in training would lift this above chance."""
    data_set, encoded = blobs(120, apart=0.0)
    assert 0.3 < probe(data_set, encoded, QUICK_3, seeds=(0, 1)).figure < 0.7


def test_copies_of_test_clips_are_left_out_of_training_and_counted() -> None:
    data_set, encoded = blobs(80, apart=0.0)
    twins = replace(
        encoded,
        digests=tuple(bytes([n % 40]) for n in range(80)),
        features=np.concatenate([encoded.features[:40], encoded.features[:40]]),
    )
    result = probe(data_set, twins, QUICK_3, seeds=(0,))
    assert result.left_out > 20
    assert result.figure < 0.75  # with its twin in training every clip would be known by heart


def test_the_same_seed_gives_the_same_figure_and_seeds_have_a_spread() -> None:
    data_set, encoded = blobs(60, apart=1.0)
    first, again = (probe(data_set, encoded, PROTOCOLS["frozen-1"], seeds=(0, 1)) for _ in range(2))
    assert first.figures == again.figures
    assert first.seed_spread == pytest.approx(np.std([np.mean(first.figures[0]), np.mean(first.figures[1])]))
    assert first.fold_spread == pytest.approx(np.std(np.mean(first.figures, axis=0)))


@pytest.mark.parametrize("layers", [1, 3])
def test_the_paper_s_classifiers_have_one_and_three_layers(layers: int) -> None:
    [classifier] = PROTOCOLS[f"frozen-{layers}"].classifiers
    network = classifier.build(10, 4)
    assert sum(isinstance(layer, torch.nn.Linear) for layer in network) == layers
    assert (classifier.rate, classifier.epochs) == (1e-3, 30)


def test_hear_chooses_among_two_depths_and_four_rates() -> None:
    grid = PROTOCOLS["hear"].classifiers
    assert {len(one.hidden) for one in grid} == {1, 2}
    assert {one.rate for one in grid} == {3.2e-3, 1e-3, 3.2e-4, 1e-4}


def test_early_stopping_keeps_the_best_look() -> None:
    _, encoded = blobs(40)
    truth = np.eye(2, dtype=bool)[np.arange(40) % 2]
    looks = iter([0.3, 0.9, 0.5, 0.4, 0.2])
    states = []

    def validate(trained: object) -> float:
        states.append({name: weights.clone() for name, weights in trained.network.state_dict().items()})  # type: ignore[attr-defined]
        return next(looks)

    trained = train(Classifier(epochs=100, patience=3, look=1), "accuracy", encoded.features, truth, 0, validate)
    assert len(states) == 5
    for name, weights in trained.network.state_dict().items():
        assert torch.equal(weights, states[1][name])


def test_scores_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((50, 4))
    several = rng.random((50, 4)) < 0.4
    one = np.eye(4, dtype=bool)[rng.integers(0, 4, 50)]
    assert score("accuracy", one, logits) == pytest.approx(accuracy_score(one.argmax(1), logits.argmax(1)))
    assert score("mAP", several, logits) == pytest.approx(average_precision_score(several, logits, average="macro"))
    assert score("F1", several, logits) == pytest.approx(f1_score(several, logits >= 0, average="micro"))


@pytest.mark.parametrize("name", ["fsd50k", "dcase2017-task4", "audioset", "tut2017", "vocalsound", "speech-commands"])
def test_a_split_data_set_is_probed_once(name: str, tmp_path: Path, encoder: Encoder, store: Store) -> None:
    LAYOUTS[name](tmp_path)
    data_set = TASKS[name].open(tmp_path)
    result = probe(data_set, encode(encoder, data_set.clips, store), PROTOCOLS["frozen-1"], seeds=(0,))
    assert result.folds == ("test",)
    assert 0 <= result.figure <= 1


def test_fine_tuning_learns_and_leaves_the_checkpoint_as_it_was(tmp_path: Path, encoder: Encoder, store: Store) -> None:
    LAYOUTS["gtzan-music-speech"](tmp_path)
    data_set = TASKS["gtzan-music-speech"].open(tmp_path)
    data_set = replace(data_set, task=replace(data_set.task, folds=2))
    before = {name: weights.clone() for name, weights in encoder.checkpoint.model.state_dict().items()}
    result = fine_tune(data_set, encode(encoder, data_set.clips, store), encoder, (0,), FineTuning(epochs=2, batch=4))
    assert np.shape(result.figures) == (1, 2)
    for name, weights in encoder.checkpoint.model.state_dict().items():
        assert torch.equal(weights, before[name])


def test_fine_tuning_trains_the_encoder_too(encoder: Encoder) -> None:
    network = Network(encoder, classes=3, hidden=())
    assert all(weights.requires_grad for weights in network.base.features.parameters())  # type: ignore[union-attr]
