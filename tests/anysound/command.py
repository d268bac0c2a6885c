"""The command, called in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from anysound import app

ROOT = Path(__file__).parents[2]


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def shell(
    *arguments: str | bytes, stdin: bytes = b"", locale: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "anysound", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=ROOT, env=os.environ | (locale or {}))
