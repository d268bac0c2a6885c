"""The commands `anysound bulk` and `anysound bulk report`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table

from bulk.cluster import ClusterError, Pool, cluster
from bulk.folder import FolderError, RunFolder
from bulk.item import Item
from bulk.labels import Labels, LabelsError, read_labels
from bulk.local import Plan, local
from bulk.progress import duration
from bulk.readers import ReadersFailed
from bulk.report import write_report
from bulk.rows import RESERVED
from bulk.run import Finished, Score, run
from bulk.settings import Layout, ScoreSettings
from bulk.setup import ReaderSetup, WebLimits
from bulk.sources import SourceError, expand
from bulk.summary import Summary
from model.checkpoint import CheckpointError, fingerprint, read_config
from model.classify import Activation
from model.config import BUNDLED, ClapConfig
from model.cores import cores
from model.devices import DeviceError, find_device
from model.hub import resolve
from model.isolation import DeviceFault
from model.memory import keep_freed_memory

EX_STOPPED = 130
"""Exit status of a run that was told to stop."""
SHORTEST_HOP_S = 0.25
DTYPES = ("auto", "float32", "bfloat16")
REMOTE_READERS = 16
"""Readers of a run with items that are fetched: they wait for servers most of the time."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
report_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out = Console(markup=False, highlight=False)
err = Console(stderr=True, markup=False, highlight=False)


def fail(message: str, status: int = 2) -> typer.Exit:
    """Print `message` on stderr. The caller raises the result, which ends the command with `status`."""
    err.print(message, style="red", soft_wrap=True)
    return typer.Exit(status)


@app.command()
def bulk(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Files, folders, globs, tar files, manifests (.csv, .tsv, .jsonl, .parquet; .txt with one path or "
            "address per line), s3://, gs:// and other fsspec addresses, http:// and https:// addresses.",
        ),
    ],
    labels: Annotated[Path, typer.Option(help="Names, one per line, or a label set in JSON.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write to, or to go on in.")],
    template: Annotated[str | None, typer.Option(help="Prompt with one {label}. Default: the checkpoint's.")] = None,
    activation: Annotated[str, typer.Option(help="softmax: scores sum to 1. sigmoid: independent scores.")] = "softmax",
    top_k: Annotated[int | None, typer.Option(min=1, help="Number of labels per item. Default: all.")] = None,
    none_of_these: Annotated[bool, typer.Option("--none-of-these", help="Add the open-set score.")] = False,
    layout: Annotated[str, typer.Option(help="long: a row per item and label. wide: a row per item.")] = "long",
    events: Annotated[bool, typer.Option("--events", help="Also write where each label is heard.")] = False,
    hop: Annotated[
        float | None, typer.Option(help="Seconds between the windows of events. Default: the checkpoint's.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Sigmoid score of an event, for labels without their own.")
    ] = 0.5,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Do the items again that have a row with an error.")
    ] = False,
    readers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read and decode. Default: by the cores.")
    ] = None,
    max_seconds: Annotated[float, typer.Option(min=1, help="Longest recording.")] = 24 * 3600,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest file that is not fetched over HTTP.")] = 16 << 30,
    idle_timeout: Annotated[
        float, typer.Option(min=1, help="Seconds without progress after which an item is given up.")
    ] = 120,
    fetch_bytes: Annotated[int, typer.Option(min=1, help="Largest file that is fetched over HTTP.")] = 512 << 20,
    fetch_timeout: Annotated[float, typer.Option(min=1, help="Seconds that one fetch over HTTP may take.")] = 120,
    redirects: Annotated[int, typer.Option(min=0, help="Redirects that are followed.")] = 5,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Also fetch from addresses that are not public.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. Default: auto.")] = None,
    dtype: Annotated[
        str, typer.Option(help="auto: bfloat16 if it is faster and changes no score; float32; bfloat16.")
    ] = "auto",
    model: Annotated[
        str | None, typer.Option("--model", help="A checkpoint directory or a hub id. Default: the bundled checkpoint.")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="Run on a Ray cluster: its address, `auto`, or `local` to start one.")
    ] = None,
    actors: Annotated[int | None, typer.Option(min=1, help="Actors on the cluster. Default: all that fit.")] = None,
    actor_cpus: Annotated[float, typer.Option(min=0.1, help="CPUs of an actor.")] = 1,
    actor_gpus: Annotated[float, typer.Option(min=0, help="GPUs of an actor.")] = 0,
) -> None:
    """Score recordings against labels, into Parquet files. Run it again to go on where it ended.

    An item that cannot be read gets a row with an error, and does not change the exit status.
    """
    given = read_given(labels, template)
    kind = checked_activation(activation, given, none_of_these)
    shape = checked_layout(layout, given, top_k)
    if dtype not in DTYPES:
        raise fail(f"unknown dtype {dtype!r}: give {', '.join(DTYPES)}")
    precision = cast(Any, dtype)
    keep_freed_memory()
    checkpoint = resolved(model)
    config = opened_config(checkpoint)
    hop_s = checked_hop(hop, config) if events else None
    if hop is not None and not events:
        raise fail("--hop is the distance of the windows of events: add --events")
    settings = ScoreSettings(
        config.name,
        fingerprint(checkpoint),
        tuple(given.names),
        given.digest,
        given.template or config.prompts.template,
        kind,
        top_k,
        none_of_these,
        shape,
        events,
        hop_s,
        threshold if events else None,
        max_seconds,
    )
    web = WebLimits(fetch_bytes, fetch_timeout, redirects, allow_private)
    setup = ReaderSetup.of(
        config.front_end, hop_s, max_seconds=max_seconds, max_bytes=max_bytes, idle_s=idle_timeout, web=web
    )
    with ExitStack() as stack:
        try:
            run_folder = stack.enter_context(RunFolder(folder, settings))
            if retry_errors and (forgotten := run_folder.forget_failures()):
                err.print(f"{forgotten:,} items with errors are done again")
            items = listed(sources)
            if not items:
                raise fail("the sources hold no recordings")
            plan = Plan(settings, given, setup, readers or default_readers(items), precision)
            if ray is None:
                scorer = stack.enter_context(local(checkpoint, str(find_device(device)), plan))
                score: Score = scorer.score
            else:
                make = partial(on_node, model, "cuda" if actor_gpus else "cpu", plan)
                pool = Pool(actors, actor_cpus, actor_gpus)
                score = stack.enter_context(cluster(ray, make, pool))
            finished = run(items, score, run_folder, err)
        except (FolderError, SourceError, LabelsError, DeviceError, CheckpointError, ClusterError) as error:
            raise fail(str(error)) from None
        except (DeviceFault, ReadersFailed) as error:
            raise fail(f"{error}. What was scored is written: run the command again to go on.", 1) from None
        except OSError as error:
            raise fail(f"{folder} cannot be written: {error.strerror or error}", 1) from None
    say(finished, folder)


def read_given(labels: Path, template: str | None) -> Labels:
    try:
        return read_labels(labels, template)
    except LabelsError as error:
        raise fail(str(error)) from None


def checked_activation(activation: str, labels: Labels, none_of_these: bool) -> Activation:
    if activation not in ("softmax", "sigmoid"):
        raise fail(f"unknown activation {activation!r}: give softmax or sigmoid")
    if activation == "softmax" and len(labels.names) == 1 and not none_of_these:
        raise fail("softmax over one label is always 1: give more labels, --none-of-these, or --activation sigmoid")
    return cast(Activation, activation)


def checked_layout(layout: str, labels: Labels, top_k: int | None) -> Layout:
    if layout not in ("long", "wide"):
        raise fail(f"unknown layout {layout!r}: give long or wide")
    if layout == "wide":
        if taken := sorted(RESERVED.intersection(labels.names)):
            raise fail(f"the label {taken[0]!r} is the name of a column: rename it, or give --layout long")
        if top_k is not None:
            raise fail("--top-k leaves labels out, and --layout wide has a column for each: give one of them")
    return cast(Layout, layout)


def resolved(model: str | None) -> Path:
    try:
        return BUNDLED if model is None else resolve(model)
    except CheckpointError as error:
        raise fail(str(error)) from None


def opened_config(checkpoint: Path) -> ClapConfig:
    try:
        return read_config(checkpoint)
    except CheckpointError as error:
        raise fail(str(error)) from None


def checked_hop(hop: float | None, config: ClapConfig) -> float:
    longest = config.front_end.window_s
    if hop is None:
        return config.front_end.window_hop_s
    if not (math.isfinite(hop) and min(SHORTEST_HOP_S, longest) <= hop <= longest):
        raise fail(f"--hop is {hop:g} s; it can be {min(SHORTEST_HOP_S, longest):g} to {longest:g} s")
    return hop


def listed(sources: Sequence[str]) -> list[Item]:
    """Raises SourceError."""
    with err.status("listing the sources"):
        return list(expand(sources))


def default_readers(items: Sequence[Item]) -> int:
    fetched = any("://" in item.location for item in items)
    return max(cores(), REMOTE_READERS) if fetched else cores()


def on_node(model: str | None, device: str, plan: Plan) -> Any:
    """What an actor scores with. Raises CheckpointError if its node has another checkpoint of that name."""
    keep_freed_memory()
    return local(BUNDLED if model is None else resolve(model), device, plan)


def say(finished: Finished, folder: Path) -> None:
    if finished.done_before:
        err.print(f"{finished.done_before:,} items were done before", soft_wrap=True)
    err.print(finished.progress.summary(), soft_wrap=True)
    if finished.stopped:
        raise fail(f"stopped; what was scored is in {folder}: run the command again to go on", EX_STOPPED)
    err.print(f"the scores are in {folder}", soft_wrap=True)


@report_app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    top: Annotated[int, typer.Option(min=1, max=100, help="Items per label to show and play.")] = 5,
    seconds: Annotated[
        float, typer.Option(min=0, max=60, help="Seconds of each item that the page holds. 0: no players.")
    ] = 10,
) -> None:
    """Sum up a run: counts per label, histograms of scores, errors by reason, and a page to listen to the top items."""
    try:
        summary, page = write_report(folder, top, seconds)
    except FolderError as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{folder} cannot be written: {error.strerror or error}") from None
    print_summary(summary)
    err.print(f"the page is {page}", soft_wrap=True)


def print_summary(summary: Summary) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("label", overflow="fold")
    for column in ("best label of", "events", "highest score"):
        table.add_column(column, justify="right")
    for label in summary.labels:
        highest = f"{label.top[0].score:.3f}" if label.top else ""
        table.add_row(label.name, f"{label.first:,}", f"{label.events:,}", highest)
    out.print(table)
    for reason, count in summary.errors.most_common():
        path, detail = summary.examples[reason]
        out.print(f"{count:,} x {reason}, the first {path}: {detail}", soft_wrap=True)
    out.print(f"{summary.items:,} items, {duration(summary.audio_s)} of audio", soft_wrap=True)


def main(arguments: Sequence[str]) -> None:
    """Run a command: `report` and its arguments, or those of a run. A folder of that name is `./report`."""
    if arguments and arguments[0] == "report":
        report_app(list(arguments[1:]), prog_name="anysound bulk report")
    app(list(arguments), prog_name="anysound bulk")
