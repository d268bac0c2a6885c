"""`anysound classify`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from anysound.console import err, fail, out, print_line, report_failure
from anysound.labels import embedded, given_labels
from anysound.options import ModelOption, open_checkpoint, recording, utf8

if TYPE_CHECKING:
    from model.classify import Activation


def classify(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Recordings in any format; - is standard input.")
    ],
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="A label. Repeat the option for each label.")
    ] = None,
    labels_file: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Labels, one per line, or a label set in JSON."),
    ] = None,
    label_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder for each label, with recordings of its sound as examples."),
    ] = None,
    template: Annotated[str | None, typer.Option(help="Prompt with one {label}. Default: the checkpoint's.")] = None,
    activation: Annotated[str, typer.Option(help="softmax: scores sum to 1. sigmoid: independent scores.")] = "softmax",
    top_k: Annotated[int | None, typer.Option(min=1, help="Number of scores per file. Default: all.")] = None,
    none_of_these: Annotated[bool, typer.Option("--none-of-these", help="Add the open-set score.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file.")] = False,
    model: ModelOption = None,
) -> None:
    """Score recordings against labels. The exit status is 1 if a file could not be read."""
    from model.audio import AudioError
    from model.classify import clip_embedding, ranked
    from model.embed import clip_windows, embed_windows
    from model.prompts import check_template

    given = given_labels(label or (), labels_file, label_dir)
    names = given.names
    template = None if template is None else utf8(template, "the template")
    kind = checked_activation(activation, names, none_of_these)
    if sum(str(file) == "-" for file in files) > 1:
        raise fail("standard input can be read once only")
    checkpoint = open_checkpoint(model)
    template = template or given.template or checkpoint.config.prompts.template
    try:
        check_template(template)
    except ValueError as error:
        raise fail(str(error)) from None
    labels = embedded(checkpoint, given, template)
    failed = False
    with Progress(console=err, transient=True, disable=len(files) < 2 or not err.is_terminal) as progress:
        for file in progress.track(files, description="classifying"):
            try:
                windows, _ = clip_windows(recording(file), checkpoint)
            except (AudioError, OSError) as error:
                failed = True
                report_failure(file, error, as_json)
                continue
            audio = clip_embedding(embed_windows(checkpoint, windows))
            scores = labels.score(audio, checkpoint.logit_scale, kind, none_of_these)
            rows = ranked(names, scores.score, scores.similarity, top_k)
            none = None if scores.none_of_these is None else float(scores.none_of_these)
            if as_json:
                print_json(file, rows, none)
            else:
                print_table(file, rows, none)
    raise typer.Exit(1 if failed else 0)


def checked_activation(activation: str, labels: list[str], none_of_these: bool) -> Activation:
    if len(set(labels)) != len(labels):
        raise fail("a label is given twice")
    if not all(name.strip() for name in labels):
        raise fail("a label is empty")
    if activation == "sigmoid":
        return "sigmoid"
    if activation != "softmax":
        raise fail(f"unknown activation {activation!r}: give softmax or sigmoid")
    if len(labels) == 1 and not none_of_these:
        raise fail("softmax over one label is always 1: give more labels, --none-of-these, or --activation sigmoid")
    return "softmax"


def print_json(file: Path, rows: list[tuple[str, float, float]], none: float | None) -> None:
    scores = [{"label": name, "score": score, "similarity": similarity} for name, score, similarity in rows]
    result: dict[str, Any] = {"name": str(file), "scores": scores}
    if none is not None:
        result["none_of_these"] = none
    print_line(result)


def print_table(file: Path, rows: list[tuple[str, float, float]], none: float | None) -> None:
    table = Table(title=str(file), title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("label", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("similarity", justify="right")
    for name, score, similarity in rows:
        table.add_row(name, f"{score:.3f}", f"{similarity:+.3f}")
    if none is not None:
        table.add_row("(none of these)", f"{none:.3f}", "")
    out.print(table)
