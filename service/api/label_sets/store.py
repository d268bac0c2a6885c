"""What a store of label sets does, and which changes it refuses."""

from __future__ import annotations

from typing import Protocol

from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import LabelSet
from service.api.problems import Code, Problem

MAX_SETS = 1_000


class Store(Protocol):
    """Keeps the sets of all API processes. Methods raise RedisFailed if the store cannot be reached."""

    storage: str

    async def etag(self, id: str) -> str | None: ...

    async def etags(self) -> dict[str, str]: ...

    async def get(self, id: str) -> LabelSet | None: ...

    async def change(self, id: str, new: LabelSet | None, condition: Condition) -> str | None:
        """Replace the set of that id by `new`, or delete it if `new` is None, in one step.

        Returns the etag of the version before, None if there was none. Raises Problem if the change is refused.
        """
        ...


def check(id: str, etag: str | None, new: LabelSet | None, condition: Condition, count: int) -> None:
    """Raise Problem if a change is refused. `etag` is of the stored version, `count` the number of stored sets."""
    if new is None and etag is None:
        raise unknown(id)
    if not condition.holds(etag):
        raise Problem(Code.PRECONDITION_FAILED, "The stored label set is not the version that the request names.")
    if new is not None and etag is None and count >= MAX_SETS:
        raise Problem(Code.INVALID_REQUEST, f"There are {MAX_SETS} label sets already; delete one first.")


def unknown(id: str) -> Problem:
    return Problem(Code.UNKNOWN_LABEL_SET, f"There is no label set {id[:200]!r}.")
