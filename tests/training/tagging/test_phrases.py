"""How people say what a tagger knows, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.tagging.phrases import PHRASES, read_kinds, read_phrases
from training.tagging.tagger import read_classes


def test_every_phrase_belongs_to_a_class_the_tagger_knows(shared: Path) -> None:
    classes = read_classes(shared / "data/weights/audioset_class_labels.csv")
    phrases = read_phrases(classes)
    assert [row.name for row in phrases] == classes
    assert all(row.phrases for row in phrases)


def test_a_phrase_for_an_unknown_class_is_named() -> None:
    with pytest.raises(ValueError, match="unknown classes"):
        read_phrases(["Dog"], PHRASES)


def test_everyday_kinds_are_heard_as_classes_the_tagger_knows(shared: Path) -> None:
    kinds = read_kinds(read_classes(shared / "data/weights/audioset_class_labels.csv"))
    torch.testing.assert_close(torch.stack([kind.shares.sum() for kind in kinds]), torch.ones(len(kinds)))
    said = [phrase for kind in kinds for phrase in kind.phrases]
    assert len(said) == len(set(said))


def test_a_kind_heard_as_an_unknown_class_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kinds.yaml"
    path.write_text("- {said: [washing machine], heard: {Dog: 1, Laundry: 2}}\n")
    with pytest.raises(ValueError, match=r"washing machine is heard as unknown classes: .*Laundry"):
        read_kinds(["Dog"], path)
