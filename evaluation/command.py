"""The command `anysound evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from evaluation.calibration import calibration
from evaluation.embeddings import TooFewRead, encode
from evaluation.encoder import Encoder
from evaluation.few_shot import FewShot, few_shot
from evaluation.fine_tune import fine_tune
from evaluation.folds import FoldError, empty
from evaluation.open_set import open_set
from evaluation.page import page
from evaluation.probe import PROTOCOLS, Supervised, probe
from evaluation.prompt_study import prompt_study
from evaluation.report import Report, TaskReport, as_object, examples_rows, markdown, notes, spread, titled
from evaluation.retrieval import CAPTION_SETS, Retrieval, retrieval
from evaluation.store import Store, default_folder
from evaluation.task import LayoutError
from evaluation.tasks import NAMED, SUITES, TASKS
from evaluation.zero_shot import zero_shot
from model.checkpoint import DEFAULT, Checkpoint, CheckpointError, load
from model.devices import DeviceError
from model.examples import MAX_EXAMPLES
from model.hub import resolve
from model.memory import keep_freed_memory
from model.prompts import check_template

FINE_TUNE = "fine-tune"
PROBES = (*PROTOCOLS, FINE_TUNE)
NAMES = (*NAMED, *CAPTION_SETS)
FOUND = (*TASKS, *CAPTION_SETS)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out = Console(markup=False, highlight=False)
err = Console(stderr=True, markup=False, highlight=False)


def fail(message: str) -> typer.Exit:
    """Print `message` to stderr; raise the result to end with status 2."""
    err.print(message, style="red", soft_wrap=True)
    return typer.Exit(2)


def warn(message: str) -> None:
    err.print(message, style="yellow", soft_wrap=True)


@app.command()
def evaluate(
    data: Annotated[list[Path], typer.Option(help="Folder of a data set, or of several. Can be given more than once.")],
    task: Annotated[
        list[str] | None,
        typer.Option(help="A task. Can be given more than once. Default: all whose data set is found."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="`paper`: the paper's sixteen tasks. Missing data sets are reported.")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="Prompt with one {label}. Several are averaged. Default: the task's own.")
    ] = None,
    probes: Annotated[
        list[str] | None, typer.Option("--probe", help=f"Also measure a supervised protocol: {', '.join(PROBES)}.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Training runs per probe; mean and standard deviation are reported.")
    ] = 3,
    examples: Annotated[
        list[int] | None,
        typer.Option(
            "--examples", min=1, max=MAX_EXAMPLES, help="Also measure with K examples of each class from other folds."
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Random draws of examples; mean and spread are reported.")] = 20,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Also run the paper's prompt study: other prompt templates.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder to write report.md, report.json and report.html to.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the embedding cache. Default: ~/.cache/anysound.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep embeddings in the cache for later runs.")] = True,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. Default: auto.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="A checkpoint directory or a hub id. Default: the bundled checkpoint.")
    ] = None,
) -> None:
    """Measure a checkpoint on data sets in their official layouts, with the paper's prompts and metrics.

    Embeddings are cached: a stopped run resumes, and another protocol does not encode the recordings again.
    """
    names = chosen(task, suite)
    check(data, template, probes)
    keep_freed_memory()
    checkpoint = opened(model)
    try:
        encoder = Encoder(checkpoint, device)
    except DeviceError as error:
        raise fail(str(error)) from None
    tasks: list[TaskReport] = []
    captioned: list[Retrieval] = []
    with Store((cache or default_folder()) if keep else None, checkpoint.fingerprint, encoder.precision) as store:
        for name in names:
            try:
                if name in CAPTION_SETS:
                    captioned.append(measured_retrieval(checkpoint, encoder, store, name, data))
                else:
                    shots = (sorted(set(examples or ())), draws)
                    tasks.append(measured(encoder, store, name, data, template, probes or [], seeds, shots, prompts))
            except LayoutError as error:
                if task:
                    raise fail(str(error)) from None
                if suite:
                    warn(f"{name}: {error}")
            except TooFewRead as error:
                if task:
                    raise fail(f"{name}: {error}") from None
                warn(f"{name}: {error}")
    if not tasks and not captioned:
        raise fail(f"{', '.join(map(str, data))} holds none of the data sets: {', '.join(names)}")
    whole = Report(checkpoint.config.name, checkpoint.fingerprint, encoder.precision, tuple(tasks), tuple(captioned))
    for one in tasks:
        for note in one.notes:
            warn(f"{one.result.title}: {note}")
    if report is not None:
        write(whole, report)
    if as_json:
        out.out(json.dumps(as_object(whole), ensure_ascii=False))
    else:
        print_tables(whole)


def chosen(task: list[str] | None, suite: str | None) -> list[str]:
    """The names of the tasks to evaluate; those of a suite in its order."""
    if suite is not None and suite not in SUITES:
        raise fail(f"unknown suite {suite}; there is {', '.join(SUITES)}")
    if unknown := [name for name in task or () if name not in NAMES]:
        raise fail(f"unknown task {unknown[0]}; there are {', '.join(NAMES)}")
    if task:
        return list(dict.fromkeys(task))
    return list(SUITES[suite]) if suite else list(FOUND)


def check(data: list[Path], templates: list[str] | None, probes: list[str] | None) -> None:
    for folder in data:
        if not folder.is_dir():
            raise fail(f"{folder} is not a folder")
    for one in templates or ():
        try:
            check_template(one)
        except ValueError as error:
            raise fail(f"{one!r}: {error}") from None
    if unknown := [name for name in probes or () if name not in PROBES]:
        raise fail(f"unknown probe {unknown[0]}; there are {', '.join(PROBES)}")


def opened(model: str | None) -> Checkpoint:
    """The bundled checkpoint, one in a directory, or one fetched by its hub id."""
    try:
        return load(resolve(model) if model else DEFAULT)
    except CheckpointError as error:
        raise fail(str(error)) from None


def measured(
    encoder: Encoder,
    store: Store,
    name: str,
    data: list[Path],
    templates: list[str] | None,
    probes: list[str],
    seeds: int,
    examples: tuple[list[int], int],
    prompts: bool,
) -> TaskReport:
    """All figures of one task that were asked for; `examples` are their counts and the draws.

    Raises LayoutError and TooFewRead.
    """
    data_set = NAMED[name].open(*data)
    checkpoint = encoder.checkpoint
    counts, draws = examples
    with bar(data_set.task.title) as progress:
        encoded = encode(encoder, data_set.clips if probes or counts else data_set.test, store, progress)
        result = zero_shot(checkpoint, data_set, encoded, templates)
        said = list(notes(result))
        if not data_set.task.official and data_set.root not in data:
            said.insert(0, f"taken from {data_set.root}, where the folders of classes are")
        if probes and (gaps := empty(encoded.clips, data_set.task.folds)):
            said.append(f"no clip in fold {', '.join(map(str, gaps))}: the other folds are evaluated")
        supervised: list[Supervised] = []
        for one in probes:
            try:
                if one == FINE_TUNE:
                    made = fine_tune(data_set, encoded, encoder, range(seeds), progress=progress)
                else:
                    made = probe(data_set, encoded, PROTOCOLS[one], range(seeds), progress)
            except FoldError as error:
                said.append(f"no figure for {one}: {error}")
                continue
            if made.left_out and not any("byte for byte" in note for note in said):
                said.append(f"{made.left_out:,} training clips are byte for byte test clips and were left out")
            supervised.append(made)
        shots: tuple[FewShot, ...] = ()
        if counts:
            try:
                shots = few_shot(checkpoint, data_set, encoded, counts, draws)
            except FoldError as error:
                said.append(f"no figure with examples: {error}")
        if few := [f"{one.short} with {one.count}" for one in shots if one.short]:
            said.append(f"classes with fewer clips to draw examples from, all of which were taken: {', '.join(few)}")
        if shots and checkpoint.config.example_scale is None:
            said.append("the checkpoint is not calibrated for examples: no figure with examples of half of the classes")
        return TaskReport(
            result,
            calibration(checkpoint, data_set, encoded),
            open_set(checkpoint, data_set, encoded),
            tuple(supervised),
            shots,
            prompt_study(checkpoint, data_set, encoded) if prompts else None,
            tuple(said),
        )


def measured_retrieval(
    checkpoint: Checkpoint, encoder: Encoder, store: Store, name: str, data: list[Path]
) -> Retrieval:
    """Retrieval figures of one caption set. Raises LayoutError and TooFewRead."""
    found = CAPTION_SETS[name].open(*data)
    with bar(found.task.title) as progress:
        return retrieval(checkpoint, found, encode(encoder, found.clips, store, progress))


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


def write(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(markdown(report), encoding="utf-8")
    (folder / "report.html").write_text(page(report), encoding="utf-8")
    text = json.dumps(as_object(report), ensure_ascii=False, indent=1)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    err.print(f"the report is in {folder}", soft_wrap=True)


def print_tables(report: Report) -> None:
    protocols = report.protocols
    table = Table(title=f"{report.model} {report.fingerprint[:12]}", title_justify="left", box=None, pad_edge=False)
    for column in ("task", "metric"):
        table.add_column(column)
    for column in ("classes", "clips", "zero-shot", *protocols.values()):
        table.add_column(column, justify="right")
    table.add_column("weakest class")
    for task in report.tasks:
        result = task.result
        weakest, value = min(result.per_class.items(), key=lambda item: item[1])
        table.add_row(
            titled(result),
            result.metric,
            str(len(result.classes)),
            f"{result.clips:,}",
            f"{result.figure:.3f}",
            *(spread(task.protocol(name)) for name in protocols),
            f"{weakest} {value:.2f}",
        )
    if report.tasks:
        out.print(table)
    for task in report.tasks:
        if task.examples:
            out.print(examples_table(task))
    for one in report.retrieval:
        part = f" ({one.partial})" if one.partial else ""
        for direction, figures in one.figures.items():
            values = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            out.print(f"{one.title}{part}, {direction}: {values}", soft_wrap=True)


def examples_table(task: TaskReport) -> Table:
    table = Table(title=f"{titled(task.result)}, with examples", title_justify="left", box=None, pad_edge=False)
    head, *rows = examples_rows(task.examples, task.result.metric)
    for column in head:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table
