"""Saved states: complete or absent, and never lost when the next one is saved."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from model.checkpoint import load
from model.clap import Clap
from model.text import Tokenizer
from tests.checkpoints import TINY, write_tokenizer
from training.loop.publish import Checkpoints
from training.loop.state import StateError, States, capture, restore
from training.loop.validate import ValidationResult

STATE = {"weights": torch.arange(300_000.0)}


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """Files cannot grow beyond `free` bytes; the kernel says so to a write, as it does of a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    states = States(tmp_path, keep=2)
    for step in (1, 2, 30):
        states.save(step, {"step": step})
    assert states.steps() == [2, 30]
    assert states.latest() == (30, {"step": 30})


def test_an_empty_folder_has_no_state(tmp_path: Path) -> None:
    assert States(tmp_path / "none", keep=2).latest() is None


def test_a_full_disk_is_named_and_costs_no_earlier_state(tmp_path: Path) -> None:
    states = States(tmp_path, keep=1)
    states.save(1, STATE)
    with full_disk(100_000), pytest.raises(StateError, match=r"step-00000002\.pt could not be saved: .+"):
        states.save(2, STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]
    latest = states.latest()
    assert latest is not None
    assert torch.equal(latest[1]["weights"], STATE["weights"])


@pytest.mark.parametrize("size", [0, 10, 5_000, 1_000_000])
def test_a_state_cut_short_is_passed_over_for_the_one_before(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    states = States(tmp_path, keep=3)
    states.save(1, STATE)
    states.save(2, STATE)
    with states.path(2).open("r+b") as file:
        file.truncate(size)
    latest = states.latest()
    assert latest is not None
    assert latest[0] == 1
    assert "step-00000002.pt cannot be read" in caplog.text


def test_with_every_state_damaged_a_run_does_not_start_anew(tmp_path: Path) -> None:
    states = States(tmp_path, keep=3)
    states.save(1, STATE)
    states.path(1).write_bytes(b"")
    with pytest.raises(StateError, match="none of the 1 states"):
        states.latest()


def test_any_loop_s_parts_come_back_as_they_were(tmp_path: Path) -> None:
    def parts() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
        layer = torch.nn.Linear(3, 2)
        return layer, torch.optim.AdamW(layer.parameters())

    layer, optimiser = parts()
    layer(torch.ones(3)).sum().backward()
    optimiser.step()
    States(tmp_path, keep=1).save(7, capture({"layer": layer, "optimiser": optimiser}))
    saved = States(tmp_path, keep=1).latest()
    assert saved is not None
    step, state = saved
    other, its_optimiser = parts()
    restore({"layer": other, "optimiser": its_optimiser}, state)
    assert step == 7
    assert torch.equal(other.weight, layer.weight)
    assert its_optimiser.state_dict()["state"][0]["exp_avg"].tolist() == (
        optimiser.state_dict()["state"][0]["exp_avg"].tolist()
    )


def test_a_part_that_does_not_fit_is_named(tmp_path: Path) -> None:
    states = States(tmp_path, keep=1)
    states.save(1, capture({"layer": torch.nn.Linear(3, 2)}))
    with pytest.raises(StateError, match=r"does not fit this run: layer: "):
        restore({"layer": torch.nn.Linear(4, 2)}, states.read(1))


def test_a_write_that_was_cut_off_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    states = States(tmp_path, keep=3)
    states.save(1, {"step": 1})
    (tmp_path / "step-00000002.pt.partial").write_bytes(b"half")
    assert states.latest() == (1, {"step": 1})


@pytest.fixture
def clap(tmp_path: Path) -> tuple[Clap, Tokenizer]:
    torch.manual_seed(0)
    return Clap(TINY), Tokenizer(write_tokenizer(tmp_path / "vocabulary"), 16)


def test_checkpoints_keep_the_last_few_and_the_best(tmp_path: Path, clap: tuple[Clap, Tokenizer]) -> None:
    checkpoints = Checkpoints(tmp_path / "run", keep=2)
    for epoch in range(5):
        checkpoints.publish(*clap, f"epoch-{epoch:03d}", ValidationResult(), {"epochs": epoch + 1}, best=epoch == 1)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["epoch-001", "epoch-003", "epoch-004"]
    assert load(tmp_path / "run" / "best").config.training == {"epochs": 2}
    assert load(tmp_path / "run" / "last").config.training == {"epochs": 5}


def test_a_full_disk_costs_no_earlier_checkpoint(tmp_path: Path, clap: tuple[Clap, Tokenizer]) -> None:
    checkpoints = Checkpoints(tmp_path / "run", keep=1)
    checkpoints.publish(*clap, "epoch-000", ValidationResult(), {"epochs": 1}, best=True)
    with full_disk(20_000), pytest.raises(StateError, match="epoch-001 could not be saved"):
        checkpoints.publish(*clap, "epoch-001", ValidationResult(), {"epochs": 2}, best=True)
    assert load(tmp_path / "run" / "best").config.training == {"epochs": 1}
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["epoch-000"]
