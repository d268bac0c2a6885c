"""`anysound evaluate`: which data sets, which protocols, and where the report goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from evaluation.embeddings import TooFewRead, encode
from evaluation.encoder import Encoder
from evaluation.store import Store, default_folder
from evaluation.task import LayoutError
from evaluation.tasks import SUITES, TASKS
from evaluation.zero_shot import Result, zero_shot
from model.checkpoint import DEFAULT, Checkpoint, CheckpointError, load
from model.prompts import check_template

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out = Console(markup=False, highlight=False)
err = Console(stderr=True, markup=False, highlight=False)


def fail(message: str) -> typer.Exit:
    """Say why on stderr; raise the result to end with status 2."""
    err.print(message, style="red", soft_wrap=True)
    return typer.Exit(2)


def warn(message: str) -> None:
    err.print(message, style="yellow", soft_wrap=True)


@app.command()
def evaluate(
    data: Annotated[list[Path], typer.Option(help="A data set, or a folder of data sets; may be given several times.")],
    task: Annotated[
        list[str] | None, typer.Option(help="A task; give it once for each. All that are there if absent.")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="`paper`: the sixteen tasks; those that are not there are named.")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="Prompt with one {label}; several are averaged. Each task's own if absent.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Where embeddings are kept; ~/.cache/anysound if absent.")] = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep embeddings for the next run.")] = True,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 …; the best there is if absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    model: Annotated[
        Path | None, typer.Option("--model", help="A checkpoint directory; the bundled one if absent.")
    ] = None,
) -> None:
    """Measure a checkpoint on data sets in their official layouts, with the paper's prompts and metrics."""
    names = chosen(task, suite)
    for folder in data:
        if not folder.is_dir():
            raise fail(f"{folder} is not a folder")
    for one in template or ():
        try:
            check_template(one)
        except ValueError as error:
            raise fail(f"{one!r}: {error}") from None
    checkpoint = opened(model)
    encoder = Encoder(checkpoint, device)
    results: list[Result] = []
    absent: list[str] = []
    with Store((cache or default_folder()) if keep else None, checkpoint.fingerprint, encoder.precision) as store:
        for name in names:
            try:
                data_set = TASKS[name].open(*data)
                with bar(TASKS[name].title) as progress:
                    encoded = encode(encoder, data_set.test, store, progress)
            except (LayoutError, TooFewRead) as error:
                if task:
                    raise fail(str(error)) from None
                absent.append(name)
                if suite or not isinstance(error, LayoutError):
                    warn(f"{name}: {error}")
                continue
            results.append(zero_shot(checkpoint, data_set, encoded, template))
    if not results:
        raise fail(f"{', '.join(map(str, data))} holds none of the data sets: {', '.join(names)}")
    for result in results:
        name_faults(result)
    if as_json:
        out.out(json.dumps(as_object(checkpoint, results), ensure_ascii=False))
    else:
        print_table(checkpoint, results)


def chosen(task: list[str] | None, suite: str | None) -> list[str]:
    """The tasks asked for, in the suite's order."""
    if suite is not None and suite not in SUITES:
        raise fail(f"unknown suite {suite}; there is {', '.join(SUITES)}")
    if unknown := sorted(set(task or ()) - TASKS.keys()):
        raise fail(f"unknown task {unknown[0]}; there are {', '.join(TASKS)}")
    if task:
        return list(dict.fromkeys(task))
    return list(SUITES[suite]) if suite else list(TASKS)


def opened(folder: Path | None) -> Checkpoint:
    try:
        return load(folder or DEFAULT)
    except CheckpointError as error:
        raise fail(str(error)) from None


def bar(title: str) -> Progress:
    return Progress(
        TextColumn(title),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def name_faults(result: Result) -> None:
    """What was left out of a figure, counted, with the first few by name."""
    for what, names in (
        ("unreadable", result.unreadable),
        ("not on disk", result.missing),
        ("class not in the list", result.strangers),
    ):
        if names:
            more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
            warn(f"{result.title}: {len(names):,} {what}: {'; '.join(names[:3])}{more}")


def as_object(checkpoint: Checkpoint, results: list[Result]) -> dict[str, Any]:
    return {
        "model": checkpoint.config.name,
        "fingerprint": checkpoint.fingerprint,
        "tasks": [
            {
                "task": result.task,
                "clips": result.clips,
                "partial": result.partial,
                "templates": result.templates,
                "figures": result.figures,
                "per_class": result.per_class,
                "unreadable": result.unreadable,
                "missing": len(result.missing),
                "strangers": result.strangers,
            }
            for result in results
        ],
    }


def print_table(checkpoint: Checkpoint, results: list[Result]) -> None:
    table = Table(title=f"{checkpoint.config.name} {checkpoint.fingerprint[:12]}, zero-shot", box=None, pad_edge=False)
    for column in ("task", "classes", "clips", "metric", "figure", "weakest class"):
        table.add_column(column, justify="right" if column in ("classes", "clips", "figure") else "left")
    for result in results:
        weakest, value = min(result.per_class.items(), key=lambda item: item[1])
        table.add_row(
            result.title + (" (part)" if result.partial else ""),
            str(len(result.classes)),
            f"{result.clips:,}",
            result.metric,
            f"{result.figure:.3f}",
            f"{weakest} {value:.2f}",
        )
    out.print(table)
    for result in results:
        if result.partial:
            out.print(f"{result.title}: a partial copy, {result.partial}")
