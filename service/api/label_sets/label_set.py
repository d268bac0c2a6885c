"""One registered label set, the document it is stored as, and the summary that is stored beside it."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from functools import cached_property

import msgspec
from pydantic import TypeAdapter

from model.prompts import Label, check_template
from service.api.label_sets.set_examples import SetExamples

LABEL_OVERHEAD_BYTES = 300
"""Memory of the Python objects of one label, beside its text."""
SUMMARY = re.compile(r'("[0-9a-f]{32}") (\d{1,9}) (\d{1,12})')


@dataclass(frozen=True)
class LabelSet:
    """Labels and, optionally, the template they are put into and the prototypes of their examples."""

    id: str
    labels: tuple[Label, ...]
    template: str | None
    examples: SetExamples | None = None

    @property
    def document(self) -> bytes:
        """The set as JSON, as stores keep it. Equal sets have equal documents."""
        return self._with(b"" if self.examples is None else _examples_json.dump_json(self.examples))

    @property
    def shown(self) -> bytes:
        """The set as JSON, as clients see it: the counts of examples in place of their prototypes."""
        return self._with(b"" if self.examples is None else msgspec.json.encode(self.examples.shown))

    def _with(self, examples: bytes) -> bytes:
        """The set as JSON with this member `examples`; a set without examples has none."""
        # One call for a large set would hold the interpreter's lock, and the event loop, until it ends.
        labels = b",".join(_label_json.dump_json(label, exclude_none=True) for label in self.labels)
        last = b',"examples":%s' % examples if examples else b""
        ends = (_text_json.dump_json(self.id), labels, _text_json.dump_json(self.template), last)
        return b'{"id":%s,"labels":[%s],"template":%s%s}' % ends

    @cached_property
    def etag(self) -> str:
        """Hash of the document, quoted as HTTP's ETag header needs it."""
        return _etag(self.document)

    @cached_property
    def memory_bytes(self) -> int:
        """Approximate memory that the set takes."""
        texts = [text for label in self.labels for text in (label.name, *label.prompts, *label.negative_prompts)]
        examples = 0 if self.examples is None else self.examples.memory_bytes
        return sum(map(sys.getsizeof, texts)) + LABEL_OVERHEAD_BYTES * len(self.labels) + examples

    @property
    def texts(self) -> int:
        """Number of names and prompts."""
        return sum(1 + len(label.prompts) + len(label.negative_prompts) for label in self.labels)

    @classmethod
    def read(cls, document: bytes) -> LabelSet:
        """The set of a document. Raises ValueError if no set has this document."""
        label_set = _json.validate_json(document)
        if not label_set.labels:
            raise ValueError("a label set without labels")
        if label_set.examples is not None:
            names = {label.name for label in label_set.labels}
            if not label_set.examples.prototypes or label_set.examples.prototypes.keys() - names:
                raise ValueError("a label set with examples of other labels")
            if len(label_set.examples.dims) > 1:
                raise ValueError("a label set with examples of several checkpoints")
        if label_set.template is not None:
            check_template(label_set.template)
        vars(label_set)["etag"] = _etag(document)  # else the property would write it again
        return label_set


_json = TypeAdapter(LabelSet)
_label_json = TypeAdapter(Label)
_examples_json = TypeAdapter(SetExamples)
_text_json: TypeAdapter[str | None] = TypeAdapter(str | None)


def _etag(document: bytes) -> str:
    return f'"{hashlib.sha256(document).hexdigest()[:32]}"'


@dataclass(frozen=True)
class Summary:
    """The summary of a set, for lists and quotas: its etag, how many labels it has, and the bytes of its document."""

    etag: str
    labels: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.etag} {self.labels} {self.bytes}"

    @classmethod
    def read(cls, text: str) -> Summary:
        """The summary that `str` gave. Raises ValueError for anything else."""
        found = SUMMARY.fullmatch(text)
        if found is None:
            raise ValueError("not the summary of a label set")
        return cls(found[1], int(found[2]), int(found[3]))


@dataclass(frozen=True)
class StoredForm:
    """A label set as a store keeps it."""

    document: bytes
    summary: Summary

    @classmethod
    def of(cls, label_set: LabelSet) -> StoredForm:
        document = label_set.document
        vars(label_set)["etag"] = etag = _etag(document)
        return cls(document, Summary(etag, len(label_set.labels), len(document)))
