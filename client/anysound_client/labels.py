"""Labels as callers give them, and as the service takes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from anysound_client.audio import Audio, read


@dataclass(frozen=True)
class Label:
    """A label with prompts of its own. Without prompts, its name is put into the template.

    `examples` are up to 32 recordings of the label's sound. `threshold` is the sigmoid score above which events count
    the label as heard.
    """

    name: str
    prompts: Sequence[str] = ()
    negative_prompts: Sequence[str] = ()
    examples: Sequence[Audio] = ()
    threshold: float | None = None

    def to_json(self) -> dict[str, object]:
        """The label as JSON, without examples and empty lists."""
        kept = {name: value for name, value in vars(self).items() if value and name != "examples"}
        return kept if self.threshold is None else {**kept, "threshold": self.threshold}


Labels = Sequence["str | Label"]


def labels_to_json(labels: Labels) -> list[object]:
    """Raises TypeError for a single string: its letters would become the labels."""
    if isinstance(labels, str):
        raise TypeError("labels is a list of labels, not a string")
    return [label.to_json() if isinstance(label, Label) else label for label in labels]


def labels_field(labels: Labels) -> str:
    """The labels as one form field."""
    return json.dumps(labels_to_json(labels), ensure_ascii=False)


def example_files(labels: Labels) -> list[tuple[str, tuple[str, bytes]]]:
    """The examples of all labels as files of a form. Raises what `audio.read` raises."""
    return [
        (f"examples.{label.name}", read(example, position))
        for label in labels
        if isinstance(label, Label)
        for position, example in enumerate(label.examples)
    ]
