"""Phrases for the classes a tagger knows: how people would say them in a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from model.prompts import fill
from model.text import Tokenizer, sequence_features

PHRASES = Path(__file__).parents[1] / "captions" / "audioset_phrases.yaml"
TEMPLATES = ("{label}", "this is a sound of {label}", "the sound of {label}", "a recording of {label}")


@dataclass(frozen=True)
class ClassPhrases:
    """One class of the tagger. A `generic` class says little in a caption ("Vehicle", "Inside, small room")."""

    name: str
    phrases: tuple[str, ...]
    generic: bool = False


def read_phrases(classes: Sequence[str], path: Path = PHRASES) -> list[ClassPhrases]:
    """The phrases of each class, in the order of `classes`: its name, the parts of its name, what the file adds.

    Raises ValueError where the file names a class that is not among them.
    """
    with path.open(encoding="utf-8") as file:
        rows = yaml.safe_load(file)
    if unknown := {*rows["phrases"], *rows["generic"]} - set(classes):
        raise ValueError(f"{path.name} has phrases for unknown classes: {sorted(unknown)}")
    return [
        ClassPhrases(
            name,
            tuple(dict.fromkeys([*name.lower().split(", "), *rows["phrases"].get(name, ())])),
            name in rows["generic"],
        )
        for name in classes
    ]


class PhraseBank:
    """Text features of every phrase in every template, computed once."""

    def __init__(self, classes: Sequence[ClassPhrases], base: nn.Module, tokenizer: Tokenizer, pooling: str) -> None:
        self.classes = classes
        texts = [fill(template, phrase) for row in classes for phrase in row.phrases for template in TEMPLATES]
        sizes = torch.tensor([len(row.phrases) * len(TEMPLATES) for row in classes])
        self.features = sequence_features(base, tokenizer, texts, pooling).clone()
        self.sizes = sizes
        self.starts = sizes.cumsum(0) - sizes

    def draw(self, generator: torch.Generator) -> Tensor:
        """One random phrase in a random template for every class: features [classes, d]."""
        chance = torch.rand(len(self.sizes), generator=generator)
        return self.features[self.starts + (chance * self.sizes).long()]
