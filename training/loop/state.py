"""States a run resumes from: written whole or not at all, the last few kept, a damaged one passed over."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

log = logging.getLogger(__name__)

# What torch.load raises for a file that is damaged or is something else.
UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    UnpicklingError,
)

NAME = re.compile(r"step-(\d{8})\.pt")


class StateError(RuntimeError):
    """A state cannot be written or read; what was saved before is untouched."""


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """`write` a neighbour of `path`, then move it there. Raises StateError, leaving nothing behind."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    # torch's writer turns a full disk into a RuntimeError.
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise StateError(f"{path} could not be saved: {_cause(error)}; what was saved before is kept") from error


def _cause(error: OSError | RuntimeError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return next(iter(str(error).splitlines()), type(error).__name__)


class States:
    """The states under one folder, a file a step."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps there is a state of, in order."""
        names = (NAME.fullmatch(path.name) for path in self.folder.glob("step-*.pt"))
        return sorted(int(match[1]) for match in names if match)

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.pt"

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Raises StateError where the disk is full or gone; earlier states stay."""
        self.folder.mkdir(parents=True, exist_ok=True)

        def write(partial: Path) -> None:
            with partial.open("wb") as file:
                torch.save(state, file)

        write_whole(self.path(step), write)
        for old in self.steps()[: -self.keep]:
            self.path(old).unlink()

    def read(self, step: int) -> dict[str, Any]:
        """Raises StateError where the file is damaged."""
        try:
            state = torch.load(self.path(step), map_location="cpu", weights_only=True)
        except UNREADABLE as error:
            cause = next(iter(str(error).splitlines()), type(error).__name__)
            raise StateError(f"{self.path(step)} cannot be read: {cause}") from None
        if not isinstance(state, dict):
            raise StateError(f"{self.path(step)} is not a state of a run")
        return state

    def latest(self) -> dict[str, Any] | None:
        """The newest state that is whole, None where there is none at all.

        Raises StateError where there are states and each is damaged: starting anew would throw the run away.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.read(step)
            except StateError as error:
                log.warning("%s; going back to the one before", error)
        if steps:
            raise StateError(f"none of the {len(steps)} states in {self.folder} can be read")
        return None
