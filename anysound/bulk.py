"""`anysound bulk`"""

from __future__ import annotations

import typer

from anysound.console import fail


def bulk(context: typer.Context) -> None:
    """Score whole collections into Parquet; `anysound bulk report DIR` sums up. See `anysound bulk --help`."""
    try:
        from bulk.command import main
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pyarrow", "fsspec"):
            raise
        raise fail(f"anysound bulk needs {error.name}: pip install 'anysound[bulk]'") from None
    main(context.args)
