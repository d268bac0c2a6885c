"""The commands `anysound train`. Each imports only what it needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

if TYPE_CHECKING:
    from rich.table import Table

    from training.loop.compare import Comparison

EXTRA = ("matplotlib", "tensorboardX", "webdataset", "fsspec", "braceexpand")
"""Packages that the extra `train` installs and the commands import."""

app = typer.Typer(help="Train checkpoints.", no_args_is_help=True)

err = Console(stderr=True, markup=False, highlight=False)

RecipeArgument = Annotated[Path, typer.Argument(help="A YAML file; see training/recipes.")]
DataOption = Annotated[Path, typer.Option(help="Folder that the recipe's paths are relative to.")]


def fail(message: str) -> typer.Exit:
    err.print(message, style="red", soft_wrap=True)
    return typer.Exit(2)


def log_to_stderr(leader: bool = True) -> None:
    logging.basicConfig(
        level=logging.INFO if leader else logging.ERROR,
        format="%(message)s",
        handlers=[RichHandler(console=err, show_path=False)],
    )


@contextmanager
def explained() -> Iterator[None]:
    """Errors of the user's input are printed in one line, with exit status 2; a bug keeps its traceback."""
    from model.devices import DeviceError
    from training.data.manifest import ManifestError
    from training.loop.state import StateError
    from training.loop.stop import TrainingStopped
    from training.recipe import RecipeError

    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise fail(f"training needs {error.name}: pip install 'anysound[train]'") from None
    except (RecipeError, ManifestError, StateError, TrainingStopped, DeviceError, FileExistsError) as error:
        raise fail(str(error)) from None


@app.command()
def run(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="Folder of the run. A stopped run in it is resumed.")],
    data: DataOption = Path(),
    start: Annotated[
        str | None,
        typer.Option(help="Checkpoint to start from: a directory, a hub id, or `bundled`. Replaces start.checkpoint."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Folder of data sets, such as ESC-50, to compare the start and the result on at the end."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or, without torchrun, cuda:N.")] = "auto",
) -> None:
    """Train a recipe, in one process or on every process of torchrun.

    With torchrun: `torchrun --nproc-per-node 8 -m anysound train run RECIPE --out RUN`. SIGTERM and Ctrl-C save the
    state and exit with status 0; the same command resumes the run.
    """
    with explained():
        from model.memory import keep_freed_memory
        from training.loop.compare import compare, open_references
        from training.loop.ranks import joined
        from training.loop.run import train
        from training.recipe import read_recipe

        checked = read_recipe(recipe, data, start)
        references = open_references(checked, reference)
        keep_freed_memory()
        with joined(device) as ranks:
            log_to_stderr(ranks.leader)
            outcome = train(checked, data, out, ranks)
            rows = []
            if ranks.leader and outcome.finished:
                rows = compare(checked, data, out, outcome, references, ranks.device)
    if ranks.leader and outcome.finished:
        if rows:
            table = compared(rows)
            if reference is None:
                table.caption = "give --reference FOLDER, with a data set such as ESC-50, to see what was forgotten"
            err.print(table)
        typer.echo(out / "best")


@app.command()
def doctor(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    data: DataOption = Path(),
    start: Annotated[str | None, typer.Option(help="Checkpoint to start from; replaces start.checkpoint.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or, without torchrun, cuda:N.")] = "auto",
) -> None:
    """Check ranks, network, folders and data before a run; the exit status is 1 if a check fails.

    Start it as the run itself: `torchrun ... -m anysound train doctor RECIPE --data DATA --out RUN`.
    """
    with explained():
        from training.loop.doctor import examine
        from training.loop.ranks import joined
        from training.recipe import read_recipe

        checked = read_recipe(recipe, data, start)
        good = True
        with joined(device) as ranks:
            for finding in examine(checked, data, out, ranks):
                good = good and finding.good
                if ranks.leader:
                    style = None if finding.good else "red"
                    mark = "ok  " if finding.good else "FAIL"
                    err.print(f"{mark} {finding.check}: {finding.detail}", style=style, soft_wrap=True)
    if not good:
        raise typer.Exit(1)


def compared(rows: list[Comparison]) -> Table:
    """The table of the figures before and after."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("task", "clips", "before", "after", "change"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for row in rows:
        figures = (f"{row.before:.3f}", f"{row.after:.3f}", f"{row.after - row.before:+.3f}")
        table.add_row(row.task, str(row.clips), *figures)
    return table


@app.command()
def shards(
    source: Annotated[Path, typer.Argument(help="A manifest (.jsonl, .csv, .tsv), or a recipe whose data to pack.")],
    out: Annotated[Path, typer.Option(help="Folder of the shards.")],
    data: DataOption = Path(),
    samples: Annotated[int, typer.Option(min=1, help="Recordings per shard.")] = 1_000,
) -> None:
    """Pack recordings, in their own coding, and captions into WebDataset tar shards with an index."""
    log_to_stderr()
    with explained():
        from training.data.corpus import read_source
        from training.data.manifest import read_manifest
        from training.data.shards import write_shards
        from training.recipe import read_recipe

        if source.suffix in (".yaml", ".yml"):
            clips = [clip for part in read_recipe(source).data for clip in read_source(part, data)]
        else:
            clips = read_manifest(source)
        packed, left_out = write_shards(clips, out, samples)
    typer.echo(f"{packed} recordings packed, {left_out} left out")
    if not packed:
        raise typer.Exit(1)


@app.command()
def caption(
    folder: Annotated[Path, typer.Argument(help="Folder of recordings; subfolders are searched.")],
    tagger: Annotated[
        Path, typer.Option(help="EfficientAT mn04 weights, with audioset_class_labels.csv in the same folder.")
    ],
    out: Annotated[Path | None, typer.Option(help="Manifest to write. Default: FOLDER/manifest.jsonl.")] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Lowest probability of a class that is named.")] = 0.15,
    captions: Annotated[int, typer.Option(min=1, help="Captions per recording.")] = 2,
) -> None:
    """Write a training manifest for unlabelled recordings: a tagger's classes become captions."""
    from model.memory import keep_freed_memory
    from training.tagging.caption import Captioning, recordings, write_manifest
    from training.tagging.caption import caption as captioned
    from training.tagging.tagger import class_labels
    from training.torch_files import TorchFileError

    log_to_stderr()
    keep_freed_memory()
    labels = class_labels(tagger)
    for path in (folder, tagger, labels):
        if not path.exists():
            raise fail(f"there is no {path}")
    if not recordings(folder):
        raise fail(f"{folder} contains no recording")
    manifest = out or folder / "manifest.jsonl"
    if manifest.parent.resolve() != folder.resolve():
        raise fail(f"{manifest} must be in {folder}: a manifest's paths are relative to its own folder")
    rows = captioned(folder, tagger, labels, Captioning(threshold=threshold, captions=captions))
    try:
        written, left_out = write_manifest(rows, manifest)
    except TorchFileError as error:
        raise fail(str(error)) from None
    typer.echo(f"{manifest}: {written} recordings captioned, {left_out} left out")


@app.command()
def table2(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="Folder of the runs. Finished runs are not repeated.")],
    data: DataOption = Path(),
    seeds: Annotated[int, typer.Option(min=1, help="Runs per row.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or, without torchrun, cuda:N.")] = "auto",
) -> None:
    """The paper's table 2: train with either, both or neither encoder frozen, and print zero-shot figures."""
    from rich.table import Table

    with explained():
        from model.memory import keep_freed_memory
        from training.loop.ranks import joined
        from training.loop.table2 import spread
        from training.loop.table2 import table2 as rows
        from training.recipe import read_recipe

        keep_freed_memory()
        checked = read_recipe(recipe)
        with joined(device) as ranks:
            log_to_stderr(ranks.leader)
            found = list(rows(checked, data, out, range(seeds), ranks))
    if not ranks.leader:
        return
    table = Table(title=f"{checked.checkpoint.name}, {seeds} seeds", box=None, pad_edge=False)
    for name in ("audio", "text", *checked.validation.tasks, "mean", "paper, mean of 16", "paper, ESC-50"):
        table.add_column(name, justify="left" if name in ("audio", "text") else "right")
    for row in found:
        state = ["frozen" if frozen else "trained" for frozen in (row.freeze.audio, row.freeze.text)]
        figures = [spread(values) for values in (*row.figures.values(), row.means)]
        table.add_row(*state, *figures, *(f"{value:.3f}" for value in row.paper))
    Console(width=140, highlight=False).print(table)
