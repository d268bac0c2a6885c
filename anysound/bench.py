"""`anysound bench`"""

from __future__ import annotations

import typer

from anysound.console import fail


def bench(context: typer.Context) -> None:
    """Measure the service against the bare model and its peers; see `anysound bench --help`."""
    try:
        from benchmarks.__main__ import main
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("benchmarks"):
            raise
        raise fail("anysound bench runs in a checkout of the repository: the image holds no benchmarks") from None
    raise typer.Exit(main(context.args))
