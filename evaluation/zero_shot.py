"""Zero-shot evaluation: each clip gets the class whose prompt is nearest to it (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.progress import Progress

from evaluation import metrics
from evaluation.embeddings import Encoded, TooFewRead, encode
from evaluation.encoder import Encoder
from evaluation.metrics import Confusion, Indices, Truth
from evaluation.store import Store
from evaluation.task import Clip, DataSet, Metric
from model.checkpoint import Checkpoint
from model.classify import LabelEmbeddings, LabelPrompts, Scores
from model.embed import embed_prompts
from model.prompts import Label, fill

THRESHOLD = 0.5
"""The sigmoid score from which a clip counts as having a class, for F1. The paper does not state its threshold."""


@dataclass(frozen=True)
class Result:
    """Figures over the readable clips; the others are named in `unreadable`.

    `figures`: by name, the task's own metric first. `per_class`: recall, or average precision for tasks with several
    classes per clip, which have no `confusion` matrix.
    """

    task: str
    title: str
    metric: Metric
    templates: tuple[str, ...]
    classes: tuple[str, ...]
    clips: int
    figures: dict[str, float]
    per_class: dict[str, float]
    confusion: Confusion | None = None
    partial: str = ""
    missing: tuple[str, ...] = field(default=())
    strangers: tuple[str, ...] = field(default=())
    unreadable: tuple[str, ...] = field(default=())

    @property
    def figure(self) -> float:
        """The task's own metric."""
        return next(iter(self.figures.values()))

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing among the classes; None for other metrics."""
        return 1 / len(self.classes) if self.metric == "accuracy" else None

    @property
    def at_chance(self) -> bool:
        """Whether the figure is not above chance by more than two standard errors."""
        chance = self.chance
        return chance is not None and self.figure <= chance + 2 * (chance * (1 - chance) / self.clips) ** 0.5


def class_embeddings(checkpoint: Checkpoint, classes: Sequence[str], templates: Sequence[str]) -> LabelEmbeddings:
    """One row per class; several templates are averaged. Raises ValueError for a template without one placeholder."""
    labels = tuple(Label(name, tuple(fill(template, name) for template in templates)) for name in classes)
    prompts = LabelPrompts(labels, templates[0], checkpoint.config.prompts.background)
    texts = prompts.prompts
    return prompts.assemble(dict(zip(texts, embed_prompts(checkpoint, texts), strict=True)))


def indices(clips: Sequence[Clip], classes: Sequence[str]) -> Indices:
    """The class of each single-label clip [clips]."""
    place = {name: index for index, name in enumerate(classes)}
    return np.array([place[clip.label] for clip in clips], np.int64)


def truth_matrix(clips: Sequence[Clip], classes: Sequence[str]) -> Truth:
    """Which classes each clip has [clips, classes]."""
    place = {name: index for index, name in enumerate(classes)}
    truth = np.zeros((len(clips), len(classes)), bool)
    for row, clip in enumerate(clips):
        truth[row, [place[label] for label in clip.labels]] = True
    return truth


def zero_shot(
    checkpoint: Checkpoint, data_set: DataSet, encoded: Encoded, templates: Sequence[str] | None = None
) -> Result:
    """Figures of a task over its encoded test clips, with its own prompt or an ensemble of `templates`.

    Raises TooFewRead where more than half of the test clips can't be read, whatever other clips are readable.
    """
    templates = tuple(templates or (data_set.task.template,))
    classes = data_set.classes
    test = encoded.of(data_set.test)
    if len(test.clips) * 2 < len(data_set.test):
        lost = len(data_set.test) - len(test.clips)
        raise TooFewRead(f"{lost:,} of {len(data_set.test):,} test clips can't be read; {encoded.unreadable[0]}")
    labels = class_embeddings(checkpoint, classes, templates)
    scores = labels.score(test.joint, checkpoint.logit_scale, "sigmoid")
    confusion = None
    if data_set.task.multilabel:
        figures, per_class = multi_label(truth_matrix(test.clips, classes), scores, data_set.task.metric)
    else:
        truth = indices(test.clips, classes)
        figures = {"accuracy": metrics.accuracy(truth, scores.similarity)}
        if len(classes) > 5:
            figures["top5"] = metrics.top_k_accuracy(truth, scores.similarity, 5)
        confusion = metrics.confusion(truth, scores.similarity.argmax(axis=1), len(classes))
        per_class = np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)
    return Result(
        data_set.task.name,
        data_set.task.title,
        data_set.task.metric,
        templates,
        classes,
        len(test.clips),
        figures,
        {name: float(value) for name, value in zip(classes, per_class, strict=True) if not np.isnan(value)},
        confusion,
        data_set.partial,
        data_set.missing,
        data_set.strangers,
        encoded.unreadable,
    )


def multi_label(truth: Truth, scores: Scores, metric: Metric) -> tuple[dict[str, float], metrics.Array]:
    """mAP over the classes that occur, and micro F1; average precision of each class."""
    precisions = metrics.average_precisions(truth, scores.similarity)
    best = metrics.one_hot(scores.similarity.argmax(axis=1), truth.shape[1])
    figures = {
        "mAP": float(np.nanmean(precisions)),
        "F1": metrics.micro_f1(truth, scores.score >= THRESHOLD),
        "F1 of the best label": metrics.micro_f1(truth, best),
    }
    return {metric: figures[metric], **figures}, precisions


def evaluate(
    checkpoint: Checkpoint,
    data_set: DataSet,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Result:
    """Zero-shot figures of one task, computed on the model's device; embeddings are not kept.

    Raises TooFewRead where more than half of the test clips can't be read, and Cancelled once `cancelled` returns true.
    """
    encoder = Encoder(checkpoint, str(checkpoint.model.logit_scale.device))
    with Store(None, checkpoint.fingerprint, encoder.precision) as store:
        return zero_shot(checkpoint, data_set, encode(encoder, data_set.test, store, progress, cancelled))
