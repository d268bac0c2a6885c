"""`anysound classify`"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.progress import Progress
from rich.table import Table

from anysound.console import err, fail, out, print_line, report_failure
from anysound.labels import embedded, given_labels
from anysound.options import ModelOption, open_checkpoint, recording, utf8

if TYPE_CHECKING:
    from anysound.heard import Heard
    from model.classify import Activation
    from model.events import Event


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
    events: Annotated[
        bool, typer.Option("--events", help="Find where each label is heard. The file may last for hours.")
    ] = False,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Sigmoid score above which --events counts a label as heard.")
    ] = 0.5,
    hop: Annotated[
        float | None,
        typer.Option(min=0.25, help="Distance in seconds of the windows of --events. Default: the checkpoint's."),
    ] = None,
    output: Annotated[
        str, typer.Option("--format", help="table, json, csv, or audacity (a label track of --events).")
    ] = "table",
    model: ModelOption = None,
) -> None:
    """Score recordings against labels. The exit status is 1 if a file could not be read."""
    from anysound.heard import listen_to
    from model.audio import AudioError
    from model.classify import clip_embedding, ranked
    from model.embed import clip_windows, embed_windows
    from model.prompts import check_template

    given = given_labels(label or (), labels_file, label_dir)
    names = given.names
    template = None if template is None else utf8(template, "the template")
    kind = checked_activation(activation, names, none_of_these)
    output = checked_format("json" if as_json else output, events, len(files))
    if sum(str(file) == "-" for file in files) > 1:
        raise fail("standard input can be read once only")
    checkpoint = open_checkpoint(model)
    window_s = checkpoint.config.front_end.window_s
    if hop is not None and hop > window_s:
        raise fail(f"--hop: {hop:g} s is longer than the model's window of {window_s:g} s")
    template = template or given.template or checkpoint.config.prompts.template
    try:
        check_template(template)
    except ValueError as error:
        raise fail(str(error)) from None
    labels = embedded(checkpoint, given, template)
    thresholds = [threshold if each.threshold is None else each.threshold for each in given.labels]
    failed = False
    if output == "csv":
        print_csv(CSV_EVENTS if events else CSV_SCORES)
    with Progress(console=err, transient=True, disable=len(files) < 2 or not err.is_terminal) as progress:
        for file in progress.track(files, description="classifying"):
            try:
                if events:
                    heard: Heard | None = listen_to(recording(file), checkpoint, labels, thresholds, hop)
                else:
                    heard = None
                    windows, _ = clip_windows(recording(file), checkpoint)
            except (AudioError, OSError) as error:
                failed = True
                report_failure(file, error, output == "json")
                continue
            audio = clip_embedding(embed_windows(checkpoint, windows)) if heard is None else heard.clip
            scores = labels.score(audio, checkpoint.logit_scale, kind, none_of_these)
            rows = ranked(names, scores.score, scores.similarity, top_k)
            none = None if scores.none_of_these is None else float(scores.none_of_these)
            found = None if heard is None else [Found(names[each.label], each) for each in heard.events]
            if output == "json":
                print_json(file, rows, none, found)
            elif output == "csv":
                print_rows(file, rows, none, found)
            elif output == "audacity":
                print_track(found or [])
            else:
                print_table(file, rows, none)
                if found is not None:
                    print_events(found)
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


class Found(NamedTuple):
    """An event and its label's name."""

    label: str
    event: Event


FORMATS = ("table", "json", "csv", "audacity")
CSV_SCORES = ("name", "label", "score", "similarity")
CSV_EVENTS = ("name", "label", "start_s", "end_s", "score")


def checked_format(output: str, events: bool, files: int) -> str:
    if output not in FORMATS:
        raise fail(f"unknown format {output!r}: give {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if output == "audacity" and not events:
        raise fail("--format audacity is a track of events: add --events")
    if output == "audacity" and files > 1:
        raise fail("a label track belongs to one recording: give one file with --format audacity")
    return output


def print_json(file: Path, rows: list[tuple[str, float, float]], none: float | None, found: list[Found] | None) -> None:
    scores = [{"label": name, "score": score, "similarity": similarity} for name, score, similarity in rows]
    result: dict[str, Any] = {"name": str(file), "scores": scores}
    if none is not None:
        result["none_of_these"] = none
    if found is not None:
        result["events"] = [
            {
                "label": each.label,
                "start_s": round(each.event.start_s, 6),
                "end_s": round(each.event.end_s, 6),
                "score": each.event.score,
            }
            for each in found
        ]
    print_line(result)


def print_rows(file: Path, rows: list[tuple[str, float, float]], none: float | None, found: list[Found] | None) -> None:
    """Lines of CSV: the events if they were asked for, else the scores."""
    if found is not None:
        for name, event in found:
            print_csv((str(file), name, f"{event.start_s:.6f}", f"{event.end_s:.6f}", f"{event.score:.6f}"))
        return
    for name, score, similarity in rows:
        print_csv((str(file), name, f"{score:.6f}", f"{similarity:.6f}"))
    if none is not None:
        print_csv((str(file), "(none of these)", f"{none:.6f}", ""))


def print_csv(row: Sequence[str]) -> None:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row)
    out.out(line.getvalue())


def print_track(found: list[Found]) -> None:
    """Audacity's label track: start, end and text, separated by tabs, which rich would expand."""
    for name, event in found:
        typer.echo(f"{event.start_s:.6f}\t{event.end_s:.6f}\t{' '.join(name.split())}")


def print_events(found: list[Found]) -> None:
    if not found:
        out.print("no events")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("start", "end", "score"):
        table.add_column(column, justify="right")
    table.add_column("event", overflow="fold")
    for name, event in found:
        table.add_row(f"{event.start_s:.2f} s", f"{event.end_s:.2f} s", f"{event.score:.3f}", name)
    out.print(table)


def print_table(file: Path, rows: list[tuple[str, float, float]], none: float | None) -> None:
    out.print(str(file), style="bold", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("label", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("similarity", justify="right")
    for name, score, similarity in rows:
        table.add_row(name, f"{score:.3f}", f"{similarity:+.3f}")
    if none is not None:
        table.add_row("(none of these)", f"{none:.3f}", "")
    out.print(table)
