"""All figures of one checkpoint, as Markdown and as JSON; `page` renders them as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.calibration import Calibration, Reliability
from evaluation.few_shot import FewShot, Spread
from evaluation.open_set import OpenSet
from evaluation.probe import Supervised
from evaluation.published import HEAR, PUBLISHED, SOURCES
from evaluation.retrieval import CUT_NAMES, Retrieval
from evaluation.zero_shot import THRESHOLD, Result

PROMPTS = (
    "No prompt was chosen by these figures: the zero-shot figures above use each task's own prompt. Taking the best of "
    "a column would be choosing on the test clips."
)

EXAMPLES = (
    "K clips of each class, drawn at random from the other folds, stand beside its name. Mean over the draws ± "
    "standard deviation, and the least. Open set: the area under the ROC curve of `none_of_these`, and of one minus "
    "the best sigmoid score, with examples for all classes."
)


@dataclass(frozen=True)
class TaskReport:
    """One task. `notes`: what a reader should know about the copy. `prompts`: the figure with each template.

    `examples`: the figures with so many examples of each class, zero-shot first.
    """

    result: Result
    calibration: Calibration
    open_set: OpenSet | None = None
    supervised: tuple[Supervised, ...] = ()
    examples: tuple[FewShot, ...] = ()
    prompts: dict[str, float] | None = None
    notes: tuple[str, ...] = ()

    def protocol(self, name: str) -> Supervised | None:
        return next((one for one in self.supervised if one.protocol == name), None)


@dataclass(frozen=True)
class Report:
    """`precision` of the encoder: fp32 or bf16."""

    model: str
    fingerprint: str
    precision: str
    tasks: tuple[TaskReport, ...]
    retrieval: tuple[Retrieval, ...] = ()

    @property
    def protocols(self) -> dict[str, str]:
        """Name and title of each supervised protocol that some task has."""
        return {one.protocol: one.title for task in self.tasks for one in task.supervised}


def notes(result: Result) -> tuple[str, ...]:
    """Notes on what was left out of a figure: counts, and the first few names."""
    faults = (
        ("unreadable", result.unreadable),
        ("not on disk", result.missing),
        ("class not in the list", result.strangers),
    )
    said = [f"a partial copy: {result.partial}"] if result.partial else []
    for what, names in faults:
        if names:
            more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
            said.append(f"{len(names):,} {what}: {'; '.join(names[:3])}{more}")
    return tuple(said)


@dataclass(frozen=True)
class Mistake:
    """The `share` of the clips of class `name` that were classified as `other`."""

    name: str
    other: str
    share: float


def mistakes(result: Result, count: int = 5) -> list[Mistake]:
    """The most frequent confusions, as shares of the true class; empty without a confusion matrix."""
    if result.confusion is None:
        return []
    shares = result.confusion / np.maximum(result.confusion.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:count]
    pairs = [np.unravel_index(place, shares.shape) for place in order]
    return [
        Mistake(result.classes[row], result.classes[column], float(shares[row, column]))
        for row, column in pairs
        if shares[row, column] > 0
    ]


def as_object(report: Report) -> dict[str, Any]:
    """The report as an object for JSON."""
    return {
        "model": report.model,
        "fingerprint": report.fingerprint,
        "precision": report.precision,
        "tasks": [task_object(task) for task in report.tasks],
        "retrieval": [
            {
                "task": one.task,
                "recordings": one.recordings,
                "captions": one.captions,
                "figures": one.figures,
                "partial": one.partial,
                "unreadable": list(one.unreadable),
            }
            for one in report.retrieval
        ],
    }


def task_object(task: TaskReport) -> dict[str, Any]:
    result = task.result
    published = PUBLISHED.get(result.task)
    return {
        "task": result.task,
        "metric": result.metric,
        "threshold": THRESHOLD if result.metric == "F1" else None,
        "clips": result.clips,
        "partial": result.partial,
        "templates": list(result.templates),
        "figures": result.figures,
        "chance": result.chance,
        "per_class": result.per_class,
        "classes": list(result.classes),
        "confusion": None if result.confusion is None else result.confusion.tolist(),
        "unreadable": list(result.unreadable),
        "missing": list(result.missing),
        "strangers": list(result.strangers),
        "supervised": {
            one.protocol: {
                "figure": one.figure,
                "seed_spread": one.seed_spread,
                "fold_spread": one.fold_spread,
                "folds": list(one.folds),
                "figures": [list(row) for row in one.figures],
                "left_out": one.left_out,
            }
            for one in task.supervised
        },
        "examples": [
            {"count": one.count, "short": one.short, "draws": [vars(draw) for draw in one.draws]}
            for one in task.examples
        ],
        "open_set": None
        if task.open_set is None
        else {"auroc": task.open_set.none_of_these, "auroc_max_softmax": task.open_set.max_softmax},
        "calibration": {
            "softmax": reliability_object(task.calibration.softmax),
            "sigmoid": reliability_object(task.calibration.sigmoid),
        },
        "prompts": task.prompts,
        "published": None
        if published is None
        else {
            "paper_zero_shot": published.zero_shot,
            "paper_frozen": published.frozen,
            "paper_fine_tuned": published.finetuned,
            "others_zero_shot": dict(published.ranked),
        },
    }


def reliability_object(one: Reliability | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {"error": one.error, "counts": list(one.counts), "scores": list(one.scores), "right": list(one.right)}


def figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def spread(one: Supervised | None) -> str:
    """Mean over folds and seeds, and standard deviation over seeds."""
    if one is None:
        return ""
    return f"{one.figure:.3f} ± {one.seed_spread:.3f}" if len(one.figures) > 1 else f"{one.figure:.3f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column left-aligned, the others right-aligned."""
    line = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, line, *rows))


def markdown(report: Report) -> str:
    """The report without its plots."""
    parts = [
        f"# Figures of {report.model}",
        f"Fingerprint `{report.fingerprint[:16]}`, computed in {report.precision}. A figure is in its task's metric; "
        "`(part)` marks a copy that holds less than the official data set, so that its figure is not comparable to a "
        "published one.",
        "## Zero-shot",
        zero_shot_table(report),
    ]
    if others := published_by_others(report):
        parts += ["Published by others:", "\n".join(others)]
    if report.protocols:
        parts += ["## Supervised", supervised_table(report)]
    shown = [task for task in report.tasks if task.examples]
    if shown:
        parts += ["## With examples", EXAMPLES]
    for task in shown:
        head, *rows = examples_rows(task.examples, task.result.metric)
        parts += [f"### {titled(task.result)}", table(head, rows)]
    parts += ["## Scores", scores_table(report)]
    if report.retrieval:
        parts += ["## Retrieval", retrieval_table(report)]
    if any(task.prompts for task in report.tasks):
        parts += ["## Prompts", PROMPTS, prompts_table(report)]
    if said := [f"- {task.result.title}: {note}" for task in report.tasks for note in task.notes]:
        parts += ["## Notes", "\n".join(said)]
    parts += ["## Sources", "\n".join(f"- {name}: {where}" for name, where in cited(report).items())]
    return "\n\n".join(parts) + "\n"


def titled(result: Result) -> str:
    return f"{result.title} (part)" if result.partial else result.title


def zero_shot_table(report: Report) -> str:
    rows = []
    for task in report.tasks:
        result = task.result
        published = PUBLISHED.get(result.task)
        weakest = min(result.per_class, key=lambda name: result.per_class[name])
        rows.append(
            (
                titled(result),
                str(len(result.classes)),
                f"{result.clips:,}",
                result.metric,
                f"**{result.figure:.3f}**",
                figure(result.figures.get("top5")),
                figure(result.chance),
                figure(published.zero_shot if published else None),
                f"{weakest} {result.per_class[weakest]:.2f}",
            )
        )
    head = (
        "task",
        "classes",
        "clips",
        "metric",
        "figure",
        "top 5",
        "chance",
        "CLAP 2022",
        "weakest class",
    )
    return table(head, rows)


def published_by_others(report: Report) -> list[str]:
    """A line per task with the zero-shot figures of other models, best first."""
    lines = []
    for task in report.tasks:
        if (published := PUBLISHED.get(task.result.task)) is not None and published.ranked:
            figures = ", ".join(f"{value:.3f} {name}" for name, value in published.ranked)
            lines.append(f"- {titled(task.result)}: {figures}")
    return lines


def supervised_table(report: Report) -> str:
    names = report.protocols
    rows = []
    for task in report.tasks:
        published = PUBLISHED.get(task.result.task)
        folds = {len(one.folds) for one in task.supervised}
        rows.append(
            (
                titled(task.result),
                task.result.metric,
                ", ".join(map(str, sorted(folds))),
                *(spread(task.protocol(name)) for name in names),
                figure(published.frozen if published else None),
                figure(published.finetuned if published else None),
                figure(HEAR.get(task.result.task)),
            )
        )
    head = ("task", "metric", "folds", *names.values(), "CLAP 2022 frozen", "CLAP 2022 fine-tuned", "CLAP 2022, HEAR")
    return table(head, rows)


def scores_table(report: Report) -> str:
    rows = [
        (
            titled(task.result),
            figure(task.calibration.softmax.error if task.calibration.softmax else None),
            figure(task.calibration.sigmoid.error),
            figure(task.open_set.none_of_these if task.open_set else None),
            figure(task.open_set.max_softmax if task.open_set else None),
        )
        for task in report.tasks
    ]
    head = (
        "task",
        "softmax calibration error",
        "sigmoid calibration error",
        "open set: AUROC of none_of_these",
        "AUROC of 1 - best softmax",
    )
    return table(head, rows)


def examples_rows(shots: Sequence[FewShot], metric: str) -> list[tuple[str, ...]]:
    """A head, and a row for each number of examples."""
    columns = {
        f"{metric}, all classes": "figure",
        f"{metric}, half of the classes": "half",
        "open set, none_of_these": "none_of_these",
        "open set, sigmoid": "sigmoid",
    }
    present = {title: name for title, name in columns.items() if any(one.spread(name) for one in shots)}
    rows = [
        (str(one.count) if one.count else "zero-shot", *(spread_of(one.spread(name)) for name in present.values()))
        for one in shots
    ]
    return [("examples", *present), *rows]


def spread_of(one: Spread | None) -> str:
    if one is None:
        return ""
    return f"{one.mean:.3f} ± {one.deviation:.3f} (≥ {one.least:.3f})" if one.deviation else f"{one.mean:.3f}"


def retrieval_table(report: Report) -> str:
    rows = [
        (
            f"{one.title} (part), {direction}" if one.partial else f"{one.title}, {direction}",
            f"{one.recordings:,}",
            f"{one.captions:,}",
            *map(figure, figures.values()),
        )
        for one in report.retrieval
        for direction, figures in one.figures.items()
    ]
    return table(("task", "recordings", "captions", *CUT_NAMES), rows)


def prompts_table(report: Report) -> str:
    templates = list(dict.fromkeys(name for task in report.tasks for name in task.prompts or ()))
    asked = [task for task in report.tasks if task.prompts]
    rows = [
        (f"`{name}`" if "{" in name else name, *(figure((task.prompts or {}).get(name)) for task in asked))
        for name in templates
    ]
    return table(("prompt", *(task.result.title for task in asked)), rows)


def cited(report: Report) -> dict[str, str]:
    """The sources of the published figures in the report."""
    names = ["CLAP 2022"]
    for task in report.tasks:
        if (published := PUBLISHED.get(task.result.task)) is not None:
            names += [name for name, _ in published.ranked]
    return {name: SOURCES[name] for name in dict.fromkeys(names)}
