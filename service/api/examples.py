"""Examples of labels: recordings that come beside a label's words, in JSON or as files of a form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.classify import clip_embedding
from model.examples import MAX_EXAMPLES, Prototype
from model.prompts import Label
from service.api.clip import Clip, json_clip
from service.api.embedded_clip import ClipFailure, ClipOutcome
from service.api.problems import Problem, invalid
from service.settings import Settings

FIELD = "examples."
"""How the name of a form's file field begins; the label's name follows."""

SentExamples = Mapping[str, Sequence[Clip]]
"""The examples of each label that has any, by the label's name."""


@dataclass(frozen=True)
class Example:
    """One example of a label, and its place in the request."""

    label: str
    place: str
    clip: Clip


def take_examples(labels: Any, settings: Settings) -> dict[int, list[Clip]]:
    """The examples of a JSON list of labels by position. They are removed from the list, so that base64 is let go.

    Raises Problem.
    """
    taken: dict[int, list[Clip]] = {}
    total = 0
    for position, label in enumerate(labels if isinstance(labels, list) else ()):
        if not isinstance(label, dict) or not (given := label.pop("examples", None)):
            continue
        place = f"labels.{position}.examples"
        if not isinstance(given, list):
            raise invalid(f'{place}: a list of {{"data": base64}} is needed')
        check_count(len(given), place)
        total += len(given)
        check_total(total, settings)
        taken[position] = [
            json_clip(item, f"{place}.{number}", f"example-{number + 1}") for number, item in enumerate(given)
        ]
    return taken


def match_examples(
    labels: Sequence[Label], listed: Mapping[int, list[Clip]], files: SentExamples, settings: Settings
) -> dict[str, list[Clip]]:
    """Examples by label, from those `listed` in JSON by position and the `files` of a form by name. Raises Problem."""
    matched = {labels[position].name: clips for position, clips in listed.items()}
    places = {label.name: position for position, label in enumerate(labels)}
    for given, clips in files.items():
        name = given if given in places else unescaped(given)
        if name not in places:
            raise invalid(f"{FIELD}{name[:100]}: no label has this name")
        matched[name] = [*matched.get(name, ()), *clips]
        check_count(len(matched[name]), f"labels.{places[name]}.examples")
    check_total(sum(map(len, matched.values())), settings)
    return matched


def unescaped(name: str) -> str:
    """The name of a field before a browser escaped it (HTML, section 4.10.21.8: multipart/form-data)."""
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def check_count(count: int, place: str) -> None:
    if count > MAX_EXAMPLES:
        raise invalid(f"{place}: {count} examples, the limit is {MAX_EXAMPLES}")


def check_total(count: int, settings: Settings) -> None:
    if count > settings.max_examples:
        raise invalid(f"labels: more than {settings.max_examples} examples in all, the limit (max_examples)")


def in_order(labels: Sequence[Label], examples: SentExamples) -> Iterator[Example]:
    """Every example, label by label."""
    for position, label in enumerate(labels):
        for number, clip in enumerate(examples.get(label.name, ())):
            yield Example(label.name, f"labels.{position}.examples.{number}", clip)


def prototypes_of(examples: Sequence[Example], outcomes: Sequence[ClipOutcome]) -> dict[str, Prototype]:
    """The prototype of each label. An example longer than a window counts with its clip embedding.

    Raises Problem naming the label and the place of an example that cannot be used.
    """
    embedded: dict[str, list[Any]] = {}
    for example, outcome in zip(examples, outcomes, strict=True):
        if isinstance(outcome, ClipFailure):
            raise Problem(outcome.code, f"{example.place} (label {example.label[:100]!r}): {outcome.detail}")
        embedded.setdefault(example.label, []).append(clip_embedding(outcome.vectors))
    return {label: Prototype.of(np.stack(vectors)) for label, vectors in embedded.items()}
