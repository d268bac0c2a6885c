"""`POST /v1/classify` in its three encodings, as one typed request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from starlette.requests import Request

from model.classify import Activation
from model.prompts import Label, check_template
from service.api.clip import Clip, json_clip
from service.api.examples import FIELD, SentExamples, match_examples, take_examples
from service.api.json_body import BRIEF_BYTES, JsonBodies, has_more, read_body, validated
from service.api.labels import LabelIn, check_labels, check_text
from service.api.media_type import FORM, JSON, is_recording, media_type
from service.api.multipart import MAX_FIELDS, Part, read_form
from service.api.problems import Code, Problem, invalid
from service.offload import off_loop
from service.settings import Settings

SHORTEST_HOP_S = 0.25


class Fields(BaseModel):
    """Every field of a request except the audio."""

    model_config = ConfigDict(extra="forbid")

    labels: list[str | LabelIn] | None = Field(None, min_length=1, description="Labels to score.")
    label_set: str | None = Field(
        None, max_length=200, description="Id of a registered label set, instead of `labels`."
    )
    template: str | None = Field(None, description="Prompt with exactly one {label}.")
    activation: Activation = "softmax"
    top_k: int | None = Field(None, ge=1, le=1_000_000, description="Number of scores per clip. All if unset.")
    timeline: bool = Field(False, description="Also return the scores of each window.")
    none_of_these: bool = Field(False, description="Also return the open-set score.")
    events: bool = Field(False, description="Also return the stretches in which a label's sigmoid score is high.")
    threshold: float = Field(
        0.5, ge=0, le=1, description="Sigmoid score above which a label without a threshold of its own is heard."
    )
    hop_s: float | None = Field(
        None,
        ge=SHORTEST_HOP_S,
        description="Distance in seconds of the windows of `timeline` and `events`, up to a window's length.",
    )

    @field_validator("template")
    @classmethod
    def _template(cls, template: str | None) -> str | None:
        if template is not None:
            check_template(template)
        return template

    @model_validator(mode="after")
    def _one_source_of_labels(self) -> Fields:
        if (self.labels is None) == (self.label_set is None):
            raise ValueError("exactly one of `labels` and `label_set` is needed")
        return self


@dataclass(frozen=True)
class Classify:
    """A request whose fields are valid. `labels` are the labels themselves, or the id of a registered set."""

    clips: list[Clip]
    labels: tuple[Label, ...] | str
    fields: Fields
    examples: SentExamples


@dataclass(frozen=True)
class Labelled:
    """What a request scores against: labels or the id of a registered set, and the examples of the labels."""

    labels: tuple[Label, ...] | str
    examples: SentExamples


F = TypeVar("F", bound=Fields)


def check_fields(
    model: type[F], members: dict[str, Any], settings: Settings, example_files: SentExamples | None = None
) -> tuple[F, Labelled]:
    """The fields of a request and its labels, within the limits. Raises Problem.

    An optional field that is empty or null counts as absent. `example_files` are those of a form, by label.
    """
    listed = take_examples(members.get("labels"), settings)
    members = {name: value for name, value in members.items() if value not in ("", None)}
    fields = validated(model, members)
    if fields.template is not None:
        check_text(fields.template, "template", settings)
    labels: tuple[Label, ...] | str = fields.label_set or ""
    examples: SentExamples = {}
    if fields.labels is not None:
        labels = check_labels(fields.labels, settings)
        examples = match_examples(labels, listed, example_files or {}, settings)
    elif example_files:
        raise invalid(f"{FIELD}{next(iter(example_files))[:100]}: the examples of a label set are registered with it")
    return fields, Labelled(labels, examples)


def build(
    members: dict[str, Any], clips: list[Clip], settings: Settings, example_files: SentExamples | None = None
) -> Classify:
    """Check everything that can be checked without decoding. Raises Problem.

    `example_files` are those of a form, by label.
    """
    fields, labelled = check_fields(Fields, members, settings, example_files)
    if not clips:
        raise invalid("audio: no clip was sent")
    if len(clips) > settings.max_clips:
        raise invalid(f"audio: {len(clips)} clips, the limit is {settings.max_clips}")
    return Classify(clips, labelled.labels, fields, labelled.examples)


async def parse(request: Request, settings: Settings, json_bodies: JsonBodies) -> Classify:
    """Read the body, whichever encoding it has. Raises Problem."""
    kind = media_type(request.headers.get("content-type", ""))
    query = request.query_params.multi_items()
    if is_recording(kind):
        data = await read_body(request)
        return build(members(query), [Clip("audio", data)] if data else [], settings)
    if query and kind in (FORM, JSON):
        raise invalid(f"{query[0][0][:100]}: in the query; the fields of this request are read from its body")
    if kind == FORM:
        parts = await read_form(request, {"audio": settings.max_clips, "examples": settings.max_examples})
        text_bytes = sum(len(part.data) for part in parts if not part.is_file)
        return await off_loop(text_bytes <= BRIEF_BYTES, build_form, parts, settings)
    if kind == JSON:
        return await json_bodies.read(request, lambda document: build_json(document, settings))
    given = f"the content type is {kind[:100]!r}" if kind else "there is no content type"
    accepted = "multipart/form-data, application/json, audio/*, video/* and application/octet-stream are read"
    raise Problem(Code.UNSUPPORTED_AUDIO, f"{given}; {accepted}")


def build_form(parts: Iterable[Part], settings: Settings) -> Classify:
    """A request from the parts of a form. Raises Problem."""
    clips, examples, pairs = read_parts(parts)
    return build(members(pairs), clips, settings, examples)


def read_parts(parts: Iterable[Part]) -> tuple[list[Clip], dict[str, list[Clip]], list[tuple[str, str]]]:
    """The recordings of a form, the examples of its labels by name, and its text fields. Raises Problem."""
    clips: list[Clip] = []
    examples: dict[str, list[Clip]] = {}
    pairs: list[tuple[str, str]] = []
    for part in parts:
        if not part.is_file:
            if part.name == "audio" or part.name.startswith(FIELD):
                raise invalid(f"{part.name[:100]}: sent as text; send a file (in curl, `-F {part.name[:100]}=@FILE`)")
            pairs.append((part.name, part.text))
        elif part.name == "audio":
            clips.append(Clip(part.filename or f"audio-{len(clips) + 1}", part.data))
        elif part.name.startswith(FIELD):
            own = examples.setdefault(part.name.removeprefix(FIELD), [])
            own.append(Clip(part.filename or f"example-{len(own) + 1}", part.data))
        else:
            raise invalid(f"{part.name[:100]}: an unknown file field; recordings go into `audio`")
    return clips, examples, pairs


def members(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Form or query fields by name. Raises Problem for a field that is given twice, unless it is `labels`.

    `labels` (or `labels[]`, as some clients write a list) may be repeated, or be one JSON list.
    """
    fields: dict[str, Any] = {}
    labels: list[Any] = []
    for name, value in pairs:
        if name in ("labels", "labels[]"):
            labels.append(value)
        elif name in fields:
            raise invalid(f"{name[:100]}: given twice")
        else:
            fields[name] = value
    if len(labels) == 1 and labels[0].lstrip().startswith("["):
        labels = json_list(labels[0]) or labels
    if any(label != "" for label in labels):
        fields["labels"] = labels
    return fields


def json_list(text: str) -> list[Any] | None:
    """The list that `text` is in JSON; None if it is not one: then it is a label that starts with a bracket."""
    data = text.encode(errors="surrogatepass")
    if has_more(data, MAX_FIELDS):
        return None
    try:
        listed = msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return listed if isinstance(listed, list) else None


def build_json(document: dict[str, Any], settings: Settings) -> Classify:
    """A request from a JSON document, which is emptied. Raises Problem."""
    audio = document.pop("audio", [])
    audio = [audio] if isinstance(audio, dict) else audio
    if not isinstance(audio, list):
        raise invalid('audio: a list of {"data": base64, "name": string} is needed')
    if len(audio) > settings.max_clips:
        raise invalid(f"audio: {len(audio)} clips, the limit is {settings.max_clips}")
    clips = [json_clip(item, f"audio.{position}", f"audio-{position + 1}") for position, item in enumerate(audio)]
    return build(document, clips, settings)
