"""The end of the running service: in order, or at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.conftest import ROOT, listening, until_ready

DRAIN_S = 100


@pytest.fixture
def service(tiny_folder: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The supervisor and its address."""
    flags = ["--port", "0", "--model", str(tiny_folder), "--drain-s", str(DRAIN_S)]
    log = tmp_path / "log"
    with (
        log.open("wb") as errors,
        subprocess.Popen([sys.executable, "-m", "anysound", "serve", *flags], cwd=ROOT, stderr=errors) as server,
    ):
        try:
            address = listening(log)
            until_ready(address)
            yield server, address
        finally:
            server.kill()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_sigterm_drains_and_a_second_one_stops_at_once(service: tuple[subprocess.Popen[bytes], str]) -> None:
    server, address = service
    family = children(server.pid)
    assert family
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    with httpx2.Client() as client:  # one connection: it is served while the service drains
        while client.get(f"{address}/readyz").status_code == 200:
            time.sleep(0.01)
        assert client.get(f"{address}/livez").status_code == 200
    assert server.poll() is None
    server.send_signal(signal.SIGTERM)
    server.wait(30)
    assert time.monotonic() - began < DRAIN_S
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]
