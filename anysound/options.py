"""Options and arguments that several subcommands share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anysound.console import fail

if TYPE_CHECKING:
    from model.audio import Source
    from model.checkpoint import Checkpoint

MAX_STDIN_BYTES = 1 << 30

ModelOption = Annotated[
    str | None, typer.Option("--model", help="A checkpoint directory or a hub id. Default: the bundled checkpoint.")
]


def utf8(text: str, what: str) -> str:
    """An argument as text. Where the locale is not UTF-8, Python decodes arguments as another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        return text
    try:
        return os.fsencode(text).decode()
    except UnicodeDecodeError:
        raise fail(f"{what} is not UTF-8: {os.fsencode(text)!r}") from None


def recording(file: Path) -> Source:
    """The source to read for a FILE of the command line. Raises OSError."""
    if str(file) != "-":
        return file
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise OSError(f"standard input holds more than {MAX_STDIN_BYTES >> 20} MiB")
    return data


def open_checkpoint(model: str | None) -> Checkpoint:
    """The checkpoint of `--model`, in a process that is set up to compute with it."""
    from model.checkpoint import DEFAULT, CheckpointError, load
    from model.hub import resolve
    from model.memory import keep_freed_memory

    keep_freed_memory()
    try:
        return load(DEFAULT if model is None else resolve(model))
    except CheckpointError as error:
        raise fail(str(error)) from None
