"""The first fault that pydantic found in an input, worded for the person who wrote the input."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol


class Faulty(Protocol):
    """A pydantic ValidationError, or FastAPI's RequestValidationError."""

    def errors(self) -> Sequence[Mapping[str, object]]: ...


class Fault(NamedTuple):
    """Where a fault is, as `labels.0.name`, and what is wrong there. `place` is empty for the input as a whole."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


def first_fault(error: Faulty, omit: Collection[str] = ()) -> Fault:
    """The first fault, and never the value, which may be a megabyte.

    `omit` names parts of places that mean nothing to a reader: the branches of a union, or FastAPI's `body`.
    """
    first = error.errors()[0]
    location = first["loc"]
    assert isinstance(location, tuple)  # noqa: S101 - pydantic's contract
    place = ".".join(str(part) for part in location if part not in omit)
    return Fault(place, str(first["msg"]).removeprefix("Value error, "))
