"""Fixtures that more than one part of the project is tested with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints import tiny_checkpoint

SHARED = Path(__file__).parents[1].parent / "shared"


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
