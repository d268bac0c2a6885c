"""`anysound train …`: each command imports only what it needs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

app = typer.Typer(help="Train checkpoints.", no_args_is_help=True)

err = Console(stderr=True, markup=False, highlight=False)

RecipeArgument = Annotated[Path, typer.Argument(help="A YAML file; see training/recipes.")]
DataOption = Annotated[Path, typer.Option(help="The folder that the recipe's paths are relative to.")]


def fail(message: str) -> typer.Exit:
    err.print(message, style="red", soft_wrap=True)
    return typer.Exit(2)


def log_to_stderr(leader: bool = True) -> None:
    logging.basicConfig(
        level=logging.INFO if leader else logging.ERROR,
        format="%(message)s",
        handlers=[RichHandler(console=err, show_path=False)],
    )


@app.command()
def run(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="The run's folder. A run that was stopped there goes on.")],
    data: DataOption = Path(),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a recipe: alone, or on every process that torchrun starts.

    `torchrun --nproc-per-node 8 -m anysound train run RECIPE --out RUN`. SIGTERM saves the state and ends with status
    0; the same command then goes on.
    """
    from training.manifest import ManifestError
    from training.ranks import joined
    from training.recipe import RecipeError, read_recipe
    from training.run import TrainingStopped, train
    from training.state import StateError

    try:
        checked = read_recipe(recipe)
        with joined(device) as ranks:
            log_to_stderr(ranks.leader)
            outcome = train(checked, data, out, ranks)
    except (RecipeError, ManifestError, StateError, TrainingStopped) as error:
        raise fail(str(error)) from None
    if ranks.leader and outcome.finished:
        typer.echo(out / "best")
