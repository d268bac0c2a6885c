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
    faults = [(_location(each), str(each["msg"])) for each in error.errors()]
    # Each branch of a union reports faults. The branch that was meant reports them deeper than the others.
    beside = faults[0][0][:-1]
    location, message = max(
        (each for each in faults if each[0][: len(beside)] == beside), key=lambda each: len(each[0])
    )
    place = ".".join(str(part) for part in location if part not in omit)
    return Fault(place, message.removeprefix("Value error, "))


def _location(fault: Mapping[str, object]) -> tuple[object, ...]:
    location = fault["loc"]
    assert isinstance(location, tuple)  # noqa: S101 - pydantic's contract
    return location
