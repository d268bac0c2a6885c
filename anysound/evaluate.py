"""`anysound evaluate`"""

from __future__ import annotations

import typer


def evaluate(context: typer.Context) -> None:
    """Measure a checkpoint on the paper's data sets; see `anysound evaluate --help`."""
    from evaluation.command import app as evaluation

    evaluation(context.args, prog_name="anysound evaluate")
