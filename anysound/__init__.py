"""The command `anysound`. Each subcommand imports only what it needs."""

from __future__ import annotations

import os
import signal

# The kernel drops signals to process 1 that it does not handle, and the imports below take a second.
if os.getpid() == 1:
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))

import io
import sys

import typer

from anysound import bench, bulk, checkpoint, classify, embed, evaluate, listen, serve, tune
from training.command import app as train_app

app = typer.Typer(
    name="anysound", help="Classify any sound with any labels.", no_args_is_help=True, pretty_exceptions_enable=False
)
OWN_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""For subcommands that parse their arguments themselves."""

app.command(context_settings=OWN_ARGUMENTS)(serve.serve)
app.command(context_settings=OWN_ARGUMENTS)(bench.bench)
app.command(context_settings=OWN_ARGUMENTS)(bulk.bulk)
app.command()(classify.classify)
app.command()(embed.embed)
app.command()(listen.listen)
app.command()(tune.tune)
app.command(context_settings=OWN_ARGUMENTS)(evaluate.evaluate)
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(train_app, name="train")


def main() -> None:
    """Entry point of the console script."""
    # Read when torch is loaded: compute threads that wait leave their core to those that read.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # File names may hold any bytes, and labels any character: printing them never fails.
            unicode = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")
    app()
