"""Supervised figures from a frozen encoder: the paper's classifiers of one and of three layers, and HEAR's grid.

The paper (section 4.4): Adam 1e-3, 30 epochs, no model selection, so validation parts are trained on too. The width of
hidden layers and the batch size are not stated: 512 and 64 here. HEAR (Turian et al. 2022): hidden layers of 1024
with batch normalisation and dropout, one or two of them and one of four learning rates chosen on the validation part
of the first fold, early stopping. Features are standardised with the mean and deviation of the training clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn

from evaluation import metrics
from evaluation.embeddings import Encoded
from evaluation.folds import Fold, make_folds, uncontaminated
from evaluation.metrics import Array, Indices, Truth
from evaluation.task import DataSet, Metric
from evaluation.zero_shot import THRESHOLD, truth_matrix
from model.prompts import Embeddings


@dataclass(frozen=True)
class Classifier:
    """A classifier on fixed features and its training: validated every `look` epochs; `patience` counts validations."""

    hidden: tuple[int, ...] = ()
    rate: float = 1e-3
    epochs: int = 30
    batch: int = 64
    dropout: float = 0.0
    batch_norm: bool = False
    patience: int | None = None
    look: int = 3

    def build(self, features: int, classes: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in self.hidden:
            layers.append(nn.Linear(features, width))
            if self.batch_norm:
                layers.append(nn.BatchNorm1d(width))
            layers.append(nn.ReLU())
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            features = width
        layers.append(nn.Linear(features, classes))
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        return nn.Sequential(*layers)


@dataclass(frozen=True)
class Protocol:
    """The candidates for model selection. A single one is trained without selection, on the validation part too."""

    name: str
    title: str
    classifiers: tuple[Classifier, ...]


HEAR_BASE = Classifier(epochs=500, batch=1024, dropout=0.1, batch_norm=True, patience=20)
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("frozen-1", "frozen, 1 layer", (Classifier(),)),
        Protocol("frozen-3", "frozen, 3 layers", (Classifier(hidden=(512, 512)),)),
        Protocol(
            "hear",
            "HEAR",
            tuple(
                replace(HEAR_BASE, hidden=hidden, rate=rate)
                for hidden in ((1024,), (1024, 1024))
                for rate in (3.2e-3, 1e-3, 3.2e-4, 1e-4)
            ),
        ),
    )
}


@dataclass(frozen=True)
class Supervised:
    """Figures [seed][fold] of one protocol. `left_out`: training clips left out as copies of test clips."""

    protocol: str
    title: str
    metric: Metric
    folds: tuple[str, ...]
    figures: tuple[tuple[float, ...], ...]
    left_out: int = 0

    @property
    def figure(self) -> float:
        """Mean over folds and seeds."""
        return float(np.mean(self.figures))

    @property
    def seed_spread(self) -> float:
        """Standard deviation, over seeds, of the mean over folds."""
        return float(np.std(np.mean(self.figures, axis=1)))

    @property
    def fold_spread(self) -> float:
        """Standard deviation, over folds, of the mean over seeds."""
        return float(np.std(np.mean(self.figures, axis=0)))


def score(metric: Metric, truth: Truth, logits: Array) -> float:
    """The task's metric of a trained classifier's logits [clips, classes]."""
    if metric == "accuracy":
        return metrics.accuracy(truth.argmax(axis=1), logits)
    if metric == "F1":
        return metrics.micro_f1(truth, 1 / (1 + np.exp(-logits)) >= THRESHOLD)
    return float(np.nanmean(metrics.average_precisions(truth, logits)))


def loss(metric: Metric, logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy for one class per clip, binary cross-entropy for several; `truth` is 0 or 1 [clips, classes]."""
    if metric == "accuracy":
        return F.cross_entropy(logits, truth)
    return F.binary_cross_entropy_with_logits(logits, truth)


@dataclass
class Trained:
    """A classifier with the scale of its features."""

    network: nn.Sequential
    mean: Embeddings
    deviation: Embeddings

    def __call__(self, features: Embeddings) -> Array:
        """Features [clips, features] -> logits [clips, classes]."""
        self.network.eval()
        with torch.inference_mode():
            logits: Array = self.network(torch.from_numpy((features - self.mean) / self.deviation)).numpy()
        return logits


def train(
    classifier: Classifier,
    metric: Metric,
    features: Embeddings,
    truth: Truth,
    seed: int,
    validate: Callable[[Trained], float] | None = None,
) -> Trained:
    """Train on features [clips, features]. With `validate`, keep the best state and stop when `patience` runs out."""
    torch.manual_seed(seed)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    inputs, targets = torch.from_numpy((features - mean) / deviation), torch.from_numpy(truth.astype(np.float32))
    network = classifier.build(features.shape[1], truth.shape[1])
    trained = Trained(network, mean, deviation)
    optimiser = torch.optim.Adam(network.parameters(), lr=classifier.rate, fused=True)
    best, best_state, looks = -1.0, network.state_dict(), 0
    for epoch in range(1, classifier.epochs + 1):
        network.train()
        for rows in torch.randperm(len(inputs)).split(classifier.batch):
            if classifier.batch_norm and len(rows) == 1:
                continue  # one clip has no variance
            optimiser.zero_grad()
            loss(metric, network(inputs[rows]), targets[rows]).backward()
            optimiser.step()
        if validate is not None and classifier.patience is not None and epoch % classifier.look == 0:
            looks += 1
            if (value := validate(trained)) > best:
                best, looks = value, 0
                best_state = {name: weights.clone() for name, weights in network.state_dict().items()}
            if looks >= classifier.patience:
                break
    if best > -1.0:
        network.load_state_dict(best_state)
    return trained


def probe(
    data_set: DataSet, encoded: Encoded, protocol: Protocol, seeds: Sequence[int], progress: Progress | None = None
) -> Supervised:
    """Train on each fold's training clips and test on its test clips. Raises FoldError where a fold is empty."""
    folds = make_folds(encoded.clips, data_set.task.folds)
    bar = progress.add_task(protocol.title, total=len(folds) * len(seeds)) if progress else None
    truth = truth_matrix(encoded.clips, data_set.classes)
    metric = data_set.task.metric
    chosen = choose(protocol.classifiers, metric, encoded, truth, folds[0], seeds[0])
    figures, left_out = [], 0
    for seed in seeds:
        of_seed = []
        for fold in folds:
            rows = uncontaminated(fold.training if chosen.patience is None else fold.train, fold.test, encoded.digests)
            val = uncontaminated(fold.val, fold.test, encoded.digests)
            left_out += (len(fold.training) - len(np.union1d(rows, val))) * (seed == seeds[0])
            validate = validation(metric, encoded.features, truth, val) if chosen.patience and len(val) else None
            trained = train(chosen, metric, encoded.features[rows], truth[rows], seed, validate)
            of_seed.append(score(metric, truth[fold.test], trained(encoded.features[fold.test])))
            if progress and bar is not None:
                progress.advance(bar)
        figures.append(tuple(of_seed))
    return Supervised(protocol.name, protocol.title, metric, tuple(f.name for f in folds), tuple(figures), left_out)


def validation(metric: Metric, features: Embeddings, truth: Truth, rows: Indices) -> Callable[[Trained], float]:
    """The figure on the validation clips."""
    return lambda trained: score(metric, truth[rows], trained(features[rows]))


def choose(
    classifiers: Sequence[Classifier], metric: Metric, encoded: Encoded, truth: Truth, fold: Fold, seed: int
) -> Classifier:
    """The classifier with the best figure on the validation part of `fold`; a single candidate without a comparison."""
    rows, val = (uncontaminated(part, fold.test, encoded.digests) for part in (fold.train, fold.val))
    if len(classifiers) == 1 or not len(val) or not len(rows):
        return classifiers[0]
    validate = validation(metric, encoded.features, truth, val)
    return max(
        classifiers, key=lambda one: validate(train(one, metric, encoded.features[rows], truth[rows], seed, validate))
    )
