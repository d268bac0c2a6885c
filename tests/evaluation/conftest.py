"""One small untrained checkpoint for all of evaluation's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from evaluation.encoder import Encoder
from evaluation.store import Store
from model.checkpoint import Checkpoint, load


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """The models here are so small that threads cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoint(tiny_folder: Path) -> Checkpoint:
    return load(tiny_folder)


@pytest.fixture
def encoder(checkpoint: Checkpoint) -> Encoder:
    return Encoder(checkpoint, "cpu")


@pytest.fixture
def store(checkpoint: Checkpoint) -> Iterator[Store]:
    with Store(None, checkpoint.fingerprint, "fp32") as store:
        yield store
