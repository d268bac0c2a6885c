"""A label set as a document: it is read as it was written, and anything else is refused."""

from __future__ import annotations

import pytest

from model.prompts import Label
from service.api.label_sets.label_set import LabelSet, StoredForm, Summary
from tests.service.api.label_sets.conftest import animals


def test_a_set_is_read_as_it_was_written() -> None:
    label_set = LabelSet("all", (Label("犬", ("a dog", "a puppy"), ("a cat",)), Label("b")), "the sound of {label}")
    read = LabelSet.read(label_set.document)
    assert read == label_set
    assert read.etag == label_set.etag


def test_the_same_content_has_the_same_etag_and_any_other_another() -> None:
    etags = [animals(*names).etag for names in (["dog"], ["dog"], ["cat"], ["dog", "cat"], ["cat", "dog"])]
    assert len(set(etags)) == 4
    assert animals("dog").etag != animals("dog", template="{label}").etag


def test_a_summary_has_the_bytes_of_the_document_and_is_read_as_it_was_written() -> None:
    stored = StoredForm.of(animals("dog", "犬"))
    assert stored.summary == Summary(animals("dog", "犬").etag, 2, len(stored.document))
    assert Summary.read(str(stored.summary)) == stored.summary


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"id": 1}',
        b'{"id": "a", "labels": [], "template": null}',
        b'{"id": "a", "labels": [{"name": 1}], "template": null}',
        b'{"id": "a", "labels": [{"name": "\\ud800"}], "template": null}',
        b'{"id": "a", "labels": [{"name": "a", "prompts": "p"}], "template": null}',
        b'{"id": "a", "labels": [{"name": "a"}], "template": "no placeholder"}',
    ],
)
def test_any_other_document_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"label set|LabelSet|template"):
        LabelSet.read(document)


@pytest.mark.parametrize("text", ["", "x", '"abc" 1 2', f'"{"0" * 32}" 1', f'"{"0" * 32}" -1 2', f'"{"0" * 32}" 1 2\n'])
def test_any_other_summary_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the summary"):
        Summary.read(text)


def test_the_memory_of_a_set_counts_every_text() -> None:
    assert LabelSet("a", (Label("x", ("p" * 10_000,) * 3),), None).memory_bytes > 30_000
