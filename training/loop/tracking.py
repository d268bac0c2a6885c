"""A run's figures in Weights & Biases, behind the extra `wandb`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from training.recipe import Recipe, RecipeError


@contextmanager
def tracked(recipe: Recipe, run: Path) -> Iterator[Callable[[dict[str, float], int], None]]:
    """Log figures at a step to the run's page; a resumed run goes on with the same page. Raises RecipeError."""
    settings = recipe.wandb
    if settings is None:
        raise RecipeError("wandb: not set")
    try:
        import wandb
    except ModuleNotFoundError:
        raise RecipeError("wandb: Weights & Biases needs its package: pip install 'anysound[wandb]'") from None
    page = wandb.init(
        project=settings.project,
        name=settings.name or run.name,
        id=hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:16],
        resume="allow",
        mode=settings.mode,
        dir=run,
        config=recipe.model_dump(mode="json"),
        settings=wandb.Settings(console="off", silent=True),
    )
    try:
        yield lambda figures, step: page.log(figures, step=step)
    finally:
        page.finish()
