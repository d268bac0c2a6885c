"""Training states: what a loop saves to resume from.

    states = States(run / "states", keep=2)
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    first = 0
    if saved := states.latest():
        first, state = saved
        restore(parts, state)
    for step in range(first, steps):
        ...
        states.save(step + 1, capture(parts) | {"generator": generator.get_state()})

A state is written whole or not at all, the newest `keep` stay, and a damaged one is skipped for the one before it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from training.torch_files import TorchFileError, read_torch_file

log = logging.getLogger(__name__)

NAME = re.compile(r"step-(\d{8})\.pt")


class StateError(RuntimeError):
    """A state cannot be written or read; states saved before are untouched."""


class Stateful(Protocol):
    """A module, optimiser, schedule or gradient scaler."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


def capture(parts: Mapping[str, Stateful]) -> dict[str, Any]:
    """Each part's `state_dict`, under its name."""
    return {name: part.state_dict() for name, part in parts.items()}


def restore(parts: Mapping[str, Stateful], state: Mapping[str, Any]) -> None:
    """Load each part from what `capture` put into `state`. Raises StateError naming a part that does not fit."""
    for name, part in parts.items():
        try:
            part.load_state_dict(state[name])
        except (KeyError, RuntimeError, ValueError) as error:
            cause = next(iter(str(error).splitlines()), type(error).__name__)
            raise StateError(f"the saved state does not fit this run: {name}: {cause}") from None


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file beside `path`, flush it to disk, and rename it to `path`.

    Raises StateError where the disk is full or gone; the incomplete file is removed.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    # torch's writer turns a full disk into a RuntimeError.
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise StateError(f"{path} could not be saved: {_cause(error)}; states saved before are kept") from error


def _cause(error: OSError | RuntimeError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return next(iter(str(error).splitlines()), type(error).__name__)


class States:
    """The states in one folder, one file per saved step; the newest `keep` stay."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """The steps that have a state, in order."""
        names = (NAME.fullmatch(path.name) for path in self.folder.glob("step-*.pt"))
        return sorted(int(match[1]) for match in names if match)

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.pt"

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Save `state`, of tensors and plain containers, as of `step` completed steps; then delete the oldest.

        Raises StateError where the disk is full or gone; earlier states stay.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"{self.folder} cannot be made: {_cause(error)}") from None

        def write(partial: Path) -> None:
            with partial.open("wb") as file:
                torch.save(dict(state), file)

        write_whole(self.path(step), write)
        for old in self.steps()[: -self.keep]:
            self.path(old).unlink()

    def read(self, step: int) -> dict[str, Any]:
        """The state saved at `step`. Raises StateError where the file is damaged."""
        try:
            state = read_torch_file(self.path(step))
        except TorchFileError as error:
            raise StateError(str(error)) from None
        if not isinstance(state, dict):
            raise StateError(f"{self.path(step)} is not a state of a run")
        return state

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest readable state and its step; None where none was saved.

        Raises StateError where every state is damaged: starting from step 0 would overwrite the run.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return step, self.read(step)
            except StateError as error:
                log.warning("%s; trying the state before it", error)
        if steps:
            raise StateError(f"none of the {len(steps)} states in {self.folder} can be read")
        return None
