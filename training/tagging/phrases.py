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
KINDS = PHRASES.with_name("everyday_kinds.yaml")
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


@dataclass(frozen=True)
class Kind:
    """A kind of sound that is no class of the tagger: its phrases, and the share of each class it is heard as."""

    phrases: tuple[str, ...]
    shares: Tensor


def read_kinds(classes: Sequence[str], path: Path = KINDS) -> list[Kind]:
    """The everyday kinds; their shares [classes] have the sum 1. Raises ValueError for an unknown class."""
    with path.open(encoding="utf-8") as file:
        rows = yaml.safe_load(file)
    number = {name: index for index, name in enumerate(classes)}
    kinds = []
    for row in rows:
        if unknown := row["heard"].keys() - number.keys():
            raise ValueError(f"{path.name}: {row['said'][0]} is heard as unknown classes: {sorted(unknown)}")
        shares = torch.zeros(len(classes))
        for name, weight in row["heard"].items():
            shares[number[name]] = weight
        kinds.append(Kind(tuple(row["said"]), shares / shares.sum()))
    return kinds


def phrase_features(
    phrases: Sequence[Sequence[str]], base: nn.Module, tokenizer: Tokenizer, pooling: str
) -> tuple[Tensor, Tensor]:
    """Text features [n, d] of every phrase in every template, and the row [n] of `phrases` that each belongs to."""
    texts = [fill(template, phrase) for row in phrases for phrase in row for template in TEMPLATES]
    sizes = torch.tensor([len(row) * len(TEMPLATES) for row in phrases])
    return sequence_features(base, tokenizer, texts, pooling).clone(), torch.arange(len(sizes)).repeat_interleave(sizes)
