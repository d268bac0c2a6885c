"""What the command prints: results on stdout, messages on stderr."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

out = Console(markup=False, highlight=False)
err = Console(stderr=True, markup=False, highlight=False)


def fail(message: str) -> typer.Exit:
    """Print `message` on stderr. The caller raises the result, which ends the command with status 2."""
    err.print(message, style="red", soft_wrap=True)
    return typer.Exit(2)


def report_failure(file: Path, error: Exception, as_json: bool) -> None:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, FileNotFoundError) and any(sign in str(file) for sign in "*?["):
        reason = "no file matches"
    if as_json:
        code = getattr(error, "code", "unreadable")
        print_line({"name": str(file), "error": {"code": code, "detail": reason}})
    else:
        err.print(f"{file}: {reason}", style="red", soft_wrap=True)


def print_line(document: dict[str, Any]) -> None:
    """One line of JSON. What the output's encoding cannot hold is escaped, file names that are not text too."""
    line = json.dumps(document, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(document)
    out.out(line)
