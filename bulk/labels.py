"""The labels file of a run: names one a line, or a label set in JSON as the service takes it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.classify import LabelEmbeddings, LabelPrompts
from model.examples import MAX_EXAMPLES, ScaleMissing
from model.faults import first_fault
from model.info import ModelInfo
from model.labels import ExampleError, embed_labels
from model.prompts import Embeddings, Label, check_template
from model.tables import TableError, read_text
from model.windows import Samples

MAX_PROMPTS_OF_LABEL = 64
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]


class LabelsError(ValueError):
    """A labels file that cannot be used; the message names the file, the place and the cause."""


class ExampleIn(BaseModel):
    """A recording of a label's sound: `path` is relative to the labels file, `data` is base64."""

    model_config = ConfigDict(extra="forbid")

    path: str | None = None
    data: str | None = None
    name: str | None = None


class LabelIn(BaseModel):
    """A label with prompts of its own. Without prompts, its name is put into the template."""

    model_config = ConfigDict(extra="forbid")

    name: Text
    prompts: list[Text] = Field(default_factory=list, max_length=MAX_PROMPTS_OF_LABEL)
    negative_prompts: list[Text] = Field(default_factory=list, max_length=MAX_PROMPTS_OF_LABEL)
    examples: list[ExampleIn | str] = Field(default_factory=list, max_length=MAX_EXAMPLES)
    threshold: float | None = Field(None, ge=0, le=1)


class LabelSetIn(BaseModel):
    """A label set, as `PUT /v1/label-sets/{id}` takes it."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None
    labels: list[Text | LabelIn] = Field(min_length=1)
    template: str | None = None


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of a run, and the recordings that are their examples, by name."""

    labels: tuple[Label, ...]
    template: str | None
    examples: dict[str, tuple[bytes, ...]]

    @property
    def names(self) -> list[str]:
        return [label.name for label in self.labels]

    @property
    def digest(self) -> str:
        """SHA-256 over everything that scores depend on; runs with another digest cannot share a folder."""
        recordings = {name: [hashlib.sha256(data).hexdigest() for data in each] for name, each in self.examples.items()}
        content = json.dumps([[asdict(label) for label in self.labels], self.template, recordings], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def embed(self, engine: Embedder) -> LabelEmbeddings:
        """The arrays that items are scored with. Raises LabelsError."""
        config = engine.info.config
        prompts = LabelPrompts(self.labels, self.template or config.prompts.template, config.prompts.background)

        def embed_windows(windows: Samples) -> Embeddings:
            return np.concatenate([engine.embed_audio([window]) for window in windows])

        try:
            return embed_labels(prompts, self.examples, config, embed_windows, engine.embed_text)
        except (ExampleError, ScaleMissing) as error:
            raise LabelsError(str(error)) from None


class Embedder(Protocol):
    """The part of `model.engine.Engine` that labels are embedded with."""

    info: ModelInfo

    def embed_audio(self, windows: Sequence[Embeddings]) -> Embeddings: ...

    def embed_text(self, prompts: Sequence[str]) -> Embeddings: ...


def read_labels(path: Path, template: str | None = None) -> Labels:
    """The labels of a file; `template` goes before the file's own. Raises LabelsError."""
    try:
        written = read_text(path)
    except TableError as error:
        raise LabelsError(str(error)) from None
    given = _parsed(path, written)
    template = template or given.template
    if template is not None:
        try:
            check_template(template)
        except ValueError as error:
            raise LabelsError(f"{path}: {error}") from None
    labels: list[Label] = []
    examples: dict[str, tuple[bytes, ...]] = {}
    for place, each in enumerate(given.labels):
        label = LabelIn(name=each) if isinstance(each, str) else each
        if any(label.name == other.name for other in labels):
            raise LabelsError(f"{path}: the label {label.name!r} is there twice")
        labels.append(Label(label.name, tuple(label.prompts), tuple(label.negative_prompts), label.threshold))
        if label.examples:
            examples[label.name] = tuple(
                _example(path, f"labels.{place}.examples.{number}", example)
                for number, example in enumerate(label.examples)
            )
    return Labels(tuple(labels), template, examples)


def _parsed(path: Path, written: str) -> LabelSetIn:
    """JSON if it begins as JSON, else a name a line."""
    if not written.lstrip().startswith(("[", "{")):
        lines = [line.strip() for line in written.splitlines()]
        names: list[str | LabelIn] = [line for line in lines if line and not line.startswith("#")]
        if not names:
            raise LabelsError(f"{path}: no labels")
        return LabelSetIn(labels=names)
    try:
        document = json.loads(written)
    except json.JSONDecodeError as error:
        raise LabelsError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    try:
        return LabelSetIn.model_validate({"labels": document} if isinstance(document, list) else document)
    except ValidationError as error:
        branches = ("LabelIn", "ExampleIn", "str", "constrained-str")
        raise LabelsError(f"{path}: {first_fault(error, branches)}") from None


def _example(path: Path, place: str, example: ExampleIn | str) -> bytes:
    if isinstance(example, str):
        example = ExampleIn(path=example)
    if (example.path is None) == (example.data is None):
        raise LabelsError(f"{path}: {place}: give `path` or `data`")
    if example.path is not None:
        try:
            return (path.parent / example.path).read_bytes()
        except OSError as error:
            raise LabelsError(f"{path}: {place}: {example.path} cannot be read: {error.strerror}") from None
    try:
        return base64.b64decode(example.data or "", validate=True)
    except binascii.Error:
        raise LabelsError(f"{path}: {place}: `data` is not base64") from None
