from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.preloaded import programs as preloaded


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the programs `anysound`, `python` and `parse`."""
    with preloaded(tmp_path_factory.mktemp("programs")) as folder:
        yield folder


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the site is built from: the pages in `docs`, and `zensical.toml`."""
    folder = tmp_path_factory.mktemp("site")
    runpy.run_path(str(ROOT / "docs" / "site.py"))["write"](folder)
    return folder


@pytest.fixture(scope="session")
def site(pages: Path) -> Path:
    """The folder of the site, built without a warning."""
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", "zensical.toml"]
    done = subprocess.run(command, cwd=pages, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return pages / "site"
