"""`anysound serve`"""

from __future__ import annotations

import typer


def serve(context: typer.Context) -> None:
    """Serve a checkpoint over HTTP. Every option is also an ANYSOUND_* variable; see `anysound serve --help`."""
    from service.supervise.supervisor import main

    raise typer.Exit(main(context.args))
