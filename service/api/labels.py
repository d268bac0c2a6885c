"""Labels as a client writes them: their limits, and the prompts that they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from model.classify import Activation, LabelPrompts
from model.config import ExampleScale, PromptConfig
from model.examples import MAX_EXAMPLES, ScaleMissing, check_scale
from model.prompts import Label
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.registry import LabelSets
from service.api.label_sets.set_examples import SetExamples
from service.api.problems import invalid
from service.observe import stages
from service.settings import Settings

MAX_PROMPTS = 10_000
MAX_PROMPTS_OF_LABEL = 64
SURROGATE = re.compile("[\ud800-\udfff]")


class ExampleIn(BaseModel):
    """A recording of the label's sound."""

    model_config = ConfigDict(extra="forbid")

    data: str = Field(json_schema_extra={"format": "byte"})
    name: str | None = None


class LabelIn(BaseModel):
    """A label with prompts of its own. Without prompts, its name is put into the template.

    Examples are read, and taken out of a request, before it is validated (`service.api.examples`).
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1)
    prompts: list[str] = Field(default_factory=list, max_length=MAX_PROMPTS_OF_LABEL)
    negative_prompts: list[str] = Field(default_factory=list, max_length=MAX_PROMPTS_OF_LABEL)
    examples: list[ExampleIn] = Field(
        default_factory=list, max_length=MAX_EXAMPLES, description="Recordings of the label's sound, in base64."
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="Sigmoid score above which `events` count the label as heard."
    )


@dataclass(frozen=True)
class ResolvedLabels:
    """The labels to score clips against. `version` names the content of a registered set; None for other labels.

    `examples` are those of a registered set.
    """

    prompts: LabelPrompts
    version: str | None = None
    examples: SetExamples | None = None


def check_comparable(labels: int, with_examples: int, scale: ExampleScale | None) -> None:
    """Raise Problem if only some labels have examples and the checkpoint cannot compare them with the others."""
    try:
        check_scale(labels, with_examples, scale)
    except ScaleMissing as error:
        raise invalid(f"labels: {error}") from None


def check_labels(labels: list[str | LabelIn], settings: Settings) -> tuple[Label, ...]:
    """The labels, if their names and prompts are within the limits and no name stands twice. Raises Problem."""
    if not labels:
        raise invalid("labels: at least one label is needed")
    if len(labels) > settings.max_labels:
        raise invalid(f"labels: {len(labels)} labels, the limit is {settings.max_labels}")
    prompts = sum(len(each.prompts) + len(each.negative_prompts) for each in labels if isinstance(each, LabelIn))
    if prompts > MAX_PROMPTS:
        raise invalid(f"labels: {prompts} prompts, the limit is {MAX_PROMPTS}")
    checked = []
    seen: dict[str, int] = {}
    for position, given in enumerate(labels):
        label = Label(given) if isinstance(given, str) else _label(given)
        for text in (label.name, *label.prompts, *label.negative_prompts):
            check_text(text, f"labels.{position}", settings)
        if label.name in seen:
            raise invalid(f"labels.{position}: the same label as labels.{seen[label.name]}")
        seen[label.name] = position
        checked.append(label)
    return tuple(checked)


def _label(given: LabelIn) -> Label:
    return Label(given.name, tuple(given.prompts), tuple(given.negative_prompts), given.threshold)


def check_text(text: str, place: str, settings: Settings) -> None:
    """Raise Problem if a label, prompt or template is empty, too long or not Unicode text."""
    if not text.strip():
        raise invalid(f"{place}: empty text")
    if len(text) > settings.max_label_chars:
        raise invalid(f"{place}: {len(text)} characters, the limit is {settings.max_label_chars}")
    check_unicode(text, place)


def check_unicode(text: str, place: str) -> None:
    """Raise Problem for half of a surrogate pair, which JSON can express and UTF-8 cannot."""
    if SURROGATE.search(text):
        raise invalid(f"{place}: not Unicode text")


def check_activation(labels: Sequence[Label], activation: Activation, none_of_these: bool) -> None:
    """Raise Problem for a softmax over one label, which is always 1."""
    if len(labels) == 1 and activation == "softmax" and not none_of_these:
        fault = "labels: softmax over one label is always 1; add labels, none_of_these, or activation=sigmoid"
        raise invalid("; ".join([fault, *warnings(labels)]))


def thresholds(labels: Sequence[Label], default: float) -> list[float]:
    """The sigmoid score above which each label is heard."""
    return [default if label.threshold is None else label.threshold for label in labels]


def warnings(labels: Sequence[Label]) -> list[str]:
    """Warnings about labels that the client probably did not mean."""
    if len(labels) == 1 and "," in labels[0].name:
        return [f"{labels[0].name[:100]!r} is one label; repeat the field `labels` for several"]
    return []


def example_warnings(
    with_examples: bool, activation: Activation, none_of_these: bool, scale: ExampleScale | None
) -> list[str]:
    """A warning about scores against background prompts, which have no examples to compare with."""
    if not with_examples or scale is not None or (activation == "softmax" and not none_of_these):
        return []
    return [
        "this checkpoint is not calibrated for examples: scores against the background prompts (sigmoid, "
        "none_of_these) favour labels with examples; run `anysound checkpoint calibrate CHECKPOINT DATA`"
    ]


async def resolve(
    labels: tuple[Label, ...] | str, template: str | None, label_sets: LabelSets, owner: str, defaults: PromptConfig
) -> ResolvedLabels:
    """The labels themselves, or those of the registered set of that id. Raises Problem for an unknown set.

    `owner` is the caller whose sets the id may name, beside the shared ones. The template is the request's, else the
    set's, else the checkpoint's.
    """
    if isinstance(labels, str):
        stored = await label_sets.get(labels, owner)
        stages.mark("cache")
        return resolved(stored, template, defaults)
    return ResolvedLabels(LabelPrompts(labels, template or defaults.template, defaults.background))


def resolved(label_set: LabelSet, template: str | None, defaults: PromptConfig) -> ResolvedLabels:
    """The labels of a set, in the request's template, else the set's, else the checkpoint's."""
    template = template or label_set.template or defaults.template
    prompts = LabelPrompts(label_set.labels, template, defaults.background)
    return ResolvedLabels(prompts, label_set.etag, label_set.examples)
