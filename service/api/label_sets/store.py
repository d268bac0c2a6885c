"""The interface of a store of label sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import StoredForm, Summary
from service.api.label_sets.set_name import SetName
from service.api.problems import Code, Problem


class StoreFailed(Exception):
    """The store cannot be read or changed at the moment."""


class Store(Protocol):
    """Keeps the sets of all API processes. All methods raise StoreFailed.

    `storage` is the store's name in answers. `may_be_away` says whether the store can fail while the service runs on,
    so that copies of its sets are of use.
    """

    storage: str
    may_be_away: bool

    async def find(self, names: Sequence[SetName]) -> list[Summary | None]:
        """The summaries of sets; None for a set that is not stored."""
        ...

    async def summaries(self) -> dict[SetName, Summary]:
        """The summaries of all sets."""
        ...

    async def document(self, name: SetName) -> bytes | None: ...

    async def change(self, name: SetName, new: StoredForm | None, condition: Condition) -> Summary | None:
        """Replace a set by `new`, or delete it if `new` is None, in one step that also enforces the quota.

        Returns the summary of the set that was there, None if there was none. Raises Problem if the change is refused.
        """
        ...


def check_change(name: SetName, before: Summary | None, new: StoredForm | None, condition: Condition) -> None:
    """Raise Problem if the set that is stored, described by `before`, must not be changed."""
    if new is None and before is None:
        raise unknown(name.id)
    if not condition.holds(None if before is None else before.etag):
        raise Problem(Code.PRECONDITION_FAILED, "The stored label set is not the version that the request names.")


def unknown(id: str) -> Problem:
    return Problem(Code.UNKNOWN_LABEL_SET, f"There is no label set {id[:200]!r}.")
