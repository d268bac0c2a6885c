"""Runs the commands of a page, and compares what they print with what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tests.conftest import ROOT
from tests.deploy.chart import TOOLS
from tests.docs.commands import BASH

ADDRESS = "http://127.0.0.1:8000"
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e-\d+)?")
TOLERANCE = 0.02
"""Of numbers with a fraction: scores differ a little from processor to processor."""
CURL = "silent\nshow-error\nfail-with-body\n"
TIMEOUT_S = 100


@dataclass(frozen=True)
class Place:
    """Where commands run: a folder that looks like a clone, the programs, and the address of a service."""

    folder: Path
    programs: Path
    address: str

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """The script's standard output and errors together."""
        script = "source() { :; }\n" + script.replace(ADDRESS, self.address).replace(".venv/bin/", "")
        # A variable of the reader's own would change what the commands print.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANYSOUND_")}
        environment = kept | {
            "PATH": os.pathsep.join([str(self.programs), os.environ["PATH"], str(TOOLS)]),
            "CURL_HOME": str(self.folder),
            "COLUMNS": "100",
            "PYTHONPATH": str(ROOT / "client"),
        }
        return subprocess.run(
            [BASH, "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )


def clone(folder: Path) -> Path:
    """A folder with the files of the repository, and recordings under the names that pages use for the reader's own."""
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name not in ("build", "runs"):
            (folder / path.name).symlink_to(path)
    (folder / ".curlrc").write_text(CURL)
    for name, example in (("yard.flac", "drums.flac"), ("clip.wav", "speech.wav"), ("pump-1.wav", "speech.wav")):
        (folder / name).symlink_to(ROOT / "examples" / example)
    soundfile.write(folder / "pump-2.wav", np.random.default_rng(0).standard_normal(16_000) * 0.1, 16_000)
    return folder


def differences(shown: str, printed: str) -> str:
    """Why `printed` is not what a page shows, or nothing. `…` stands for any text, alone on a line for any lines."""
    expected, actual = _lines(shown), _lines(printed)
    if _matches(expected, actual):
        return ""
    return f"the page shows\n{shown}\nbut the commands print\n{printed}"


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _matches(expected: list[str], actual: list[str]) -> bool:
    if not expected:
        return not actual
    if expected[0] == "…":
        return any(_matches(expected[1:], actual[start:]) for start in range(len(actual) + 1))
    return bool(actual) and _same(expected[0], actual[0]) and _matches(expected[1:], actual[1:])


def _same(expected: str, actual: str) -> bool:
    pieces = NUMBER.split(expected)
    pattern = f"({NUMBER.pattern})".join(re.escape(piece).replace("…", ".*") for piece in pieces)
    found = re.fullmatch(pattern, actual)
    if found is None:
        return False
    for shown, printed in zip(NUMBER.findall(expected), found.groups(), strict=True):
        if abs(float(shown) - float(printed)) > (TOLERANCE if "." in shown else 0):
            return False
    return True
