"""One registered label set, and the document it is stored as."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from model.prompts import Label


@dataclass(frozen=True)
class LabelSet:
    """Labels and, optionally, the template they are put into."""

    id: str
    labels: tuple[Label, ...]
    template: str | None

    @cached_property
    def document(self) -> str:
        """The set as JSON, as stores keep it. Equal sets have equal documents."""
        return json.dumps(
            {"id": self.id, "labels": [asdict(label) for label in self.labels], "template": self.template}
        )

    @cached_property
    def etag(self) -> str:
        """Hash of the content, quoted as HTTP's ETag header needs it."""
        return f'"{hashlib.sha256(self.document.encode()).hexdigest()[:32]}"'

    @classmethod
    def read(cls, document: str | bytes) -> LabelSet:
        """Raises ValueError, KeyError or TypeError if the document was not written by `document`."""
        fields = json.loads(document)
        labels = [
            Label(label["name"], tuple(label["prompts"]), tuple(label["negative_prompts"]))
            for label in fields["labels"]
        ]
        return cls(fields["id"], tuple(labels), fields["template"])

    def to_json(self, storage: str) -> dict[str, Any]:
        return {**json.loads(self.document), "storage": storage}
