"""The service as process 1 of a container: it hears SIGTERM from its first moment on, and leaves no zombies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="process namespaces need root and unshare"
)

NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for a signal."""
    fields = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return bool(int(fields["SigCgt"], 16) & 1 << number - 1)


def until_first_child(pid: int) -> int:
    end = time.monotonic() + 20
    while not (children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        assert time.monotonic() < end
        time.sleep(0.001)
    return int(children[0])


def test_sigterm_while_it_still_imports_ends_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [*NAMESPACE, sys.executable, "-m", "anysound", "serve", "--port", "0"]
    with log.open("wb") as errors, subprocess.Popen(command, cwd=ROOT, stderr=errors) as unshare:
        first = until_first_child(unshare.pid)
        while not handles(first, signal.SIGTERM):
            time.sleep(0.001)
        os.kill(first, signal.SIGTERM)
        assert unshare.wait(20) == 128 + signal.SIGTERM
    assert log.read_text() == "", "it had not begun to serve"


def test_orphans_are_reaped() -> None:
    command = [*NAMESPACE, sys.executable, "-m", "tests.service.supervise.orphans"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1", "0"]
