"""Registered label sets: sent once, then named. Kept in this process' memory, and the answer says so."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from model.prompts import Label
from service.problems import Code, Problem

MAX_SETS = 1_000


@dataclass(frozen=True)
class LabelSet:
    """Labels and, optionally, the template they go into."""

    id: str
    labels: tuple[Label, ...]
    template: str | None

    @property
    def etag(self) -> str:
        """Changes with the content."""
        content = json.dumps([[asdict(label) for label in self.labels], self.template], sort_keys=True)
        return f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'

    def to_json(self) -> dict[str, Any]:
        labels = [
            {"name": label.name, "prompts": list(label.prompts), "negative_prompts": list(label.negative_prompts)}
            for label in self.labels
        ]
        return {"id": self.id, "labels": labels, "template": self.template, "storage": "memory"}


class LabelSets:
    """The sets of one API process. A change replaces a set whole, so no request sees half of it."""

    def __init__(self) -> None:
        self._sets: dict[str, LabelSet] = {}

    def get(self, id: str) -> LabelSet:
        """Raises Problem where there is none."""
        try:
            return self._sets[id]
        except KeyError:
            raise Problem(Code.UNKNOWN_LABEL_SET, f"There is no label set {id[:200]!r}.") from None

    def put(self, label_set: LabelSet, if_match: str | None) -> bool:
        """Store a set; True where it is new. Raises Problem where `if_match` is not what is stored."""
        stored = self._sets.get(label_set.id)
        self._check(stored, if_match)
        if stored is None and len(self._sets) >= MAX_SETS:
            raise Problem(Code.INVALID_REQUEST, f"There are {MAX_SETS} label sets already; delete one first.")
        self._sets[label_set.id] = label_set
        return stored is None

    def delete(self, id: str, if_match: str | None) -> None:
        """Raises Problem where there is none, or `if_match` is not what is stored."""
        self._check(self.get(id), if_match)
        del self._sets[id]

    def all(self) -> list[LabelSet]:
        return [self._sets[key] for key in sorted(self._sets)]

    @staticmethod
    def _check(stored: LabelSet | None, if_match: str | None) -> None:
        if if_match is None:
            return
        if stored is None or if_match not in ("*", stored.etag):
            raise Problem(Code.PRECONDITION_FAILED, "The label set is not the version that If-Match names.")
