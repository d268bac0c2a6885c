"""Fixtures that more than one part of the project is tested with."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.checkpoints import tiny_checkpoint

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained checkpoint directory."""
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and reference facts; tests that need it are skipped where it is absent."""
    if not SHARED.exists():
        pytest.skip(f"the shared recordings are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `anysound serve`, as a new user starts it."""
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "anysound", "serve", "--port", "0"]
    with log.open("wb") as errors, subprocess.Popen(command, cwd=ROOT, stderr=errors) as server:
        try:
            address = listening(log)
            until_ready(address)
            yield address
        finally:
            server.terminate()


def listening(log: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"the service does not listen:\n{log.read_text()}")


def until_ready(address: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if httpx2.get(f"{address}/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the service did not become ready")
