"""The name of a label set: its owner and its id."""

from __future__ import annotations

import re
from dataclasses import dataclass

SHARED = "shared"
"""The owner whose sets every caller may read. It owns the sets of a service that needs no keys."""
ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


@dataclass(frozen=True, order=True)
class SetName:
    """`owner` is a caller's name in the keys file, or one derived from its key. Owners may use the same ids."""

    owner: str
    id: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.id}"

    @classmethod
    def read(cls, text: str) -> SetName:
        """The name that `str` gave. Raises ValueError for anything else."""
        parts = text.split("/")
        if len(parts) != 2 or not all(map(ID.fullmatch, parts)):
            raise ValueError("not the name of a label set")
        return cls(*parts)


def readable(owner: str, id: str) -> list[SetName]:
    """The sets that an id may name for a caller: its own, then the shared one. Empty for an id that no set can have."""
    return [SetName(each, id) for each in dict.fromkeys((owner, SHARED))] if ID.fullmatch(id) else []
