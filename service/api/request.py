"""One typed request out of the three encodings of `POST /v1/classify`."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from model.classify import Activation
from model.faults import first_fault
from model.prompts import Label, check_template
from service.api.labels import LabelIn, check_labels, check_text, check_unicode
from service.api.problems import Code, Problem, invalid
from service.settings import Settings

MAX_FIELDS = 20_000
MAX_PART_BYTES = 4 << 20
LISTS = {"labels"}


class Fields(BaseModel):
    """Every field of a request except the audio."""

    model_config = ConfigDict(extra="forbid")

    labels: list[str | LabelIn] | None = None
    label_set: str | None = Field(None, max_length=200)
    template: str | None = None
    activation: Activation = "softmax"
    top_k: int | None = Field(None, ge=1, le=1_000_000)
    timeline: bool = False
    none_of_these: bool = False

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
class Clip:
    """One recording as it was sent."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Classify:
    """A request whose fields are valid. `labels` are the labels themselves, or the id of a registered set."""

    clips: list[Clip]
    labels: tuple[Label, ...] | str
    fields: Fields


def build(raw: Mapping[str, Any], clips: list[Clip], settings: Settings) -> Classify:
    """Check everything that can be checked without decoding. Raises Problem."""
    try:
        fields = Fields.model_validate(raw)
    except ValidationError as error:
        raise invalid(str(first_fault(error, omit=("str", "LabelIn")))) from None
    if fields.template is not None:
        check_text(fields.template, "template", settings)
    labels: tuple[Label, ...] | str = fields.label_set or ""
    if fields.labels is not None:
        labels = check_labels(fields.labels, settings)
    if not clips:
        raise invalid("audio: no clip was sent")
    if len(clips) > settings.max_clips:
        raise invalid(f"audio: {len(clips)} clips, the limit is {settings.max_clips}")
    return Classify(clips, labels, fields)


async def parse(request: Request, settings: Settings) -> Classify:
    """Read the body in whichever encoding it is. Raises Problem."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _multipart(request, settings)
    if kind == "application/json":
        body = await request.body()
        # A body of many megabytes of base64 would hold up the event loop.
        return await asyncio.to_thread(_json, body, settings)
    if kind.startswith("audio/") or kind == "application/octet-stream":
        fields = _repeated(request.query_params.multi_items())
        data = await request.body()
        return build(fields, [Clip("audio", data)] if data else [], settings)
    given = f"the content type is {kind[:100]!r}" if kind else "there is no content type"
    accepted = "multipart/form-data, application/json, audio/* and application/octet-stream are read"
    raise Problem(Code.UNSUPPORTED_AUDIO, f"{given}; {accepted}")


async def _multipart(request: Request, settings: Settings) -> Classify:
    try:
        form: FormData = await request.form(
            max_files=settings.max_clips + 1, max_fields=MAX_FIELDS, max_part_size=MAX_PART_BYTES
        )
    except MultiPartException as error:
        raise invalid(f"the form cannot be read: {error.message}") from None
    clips: list[Clip] = []
    pairs: list[tuple[str, str]] = []
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "audio":
                    raise invalid(f"{name[:100]}: an unknown file field; recordings go into `audio`")
                clips.append(Clip(value.filename or f"audio-{len(clips) + 1}", await value.read()))
            elif name == "audio":
                raise invalid("audio: sent as text; send a file (in curl, `-F audio=@FILE`)")
            else:
                pairs.append((name, value))
    finally:
        await form.close()
    return build(_repeated(pairs), clips, settings)


def _repeated(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Form or query fields. `labels` may be repeated, or be one JSON list; any other field stands once."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in LISTS:
            fields.setdefault(name, []).append(value)
        elif name in fields:
            raise invalid(f"{name[:100]}: given twice")
        else:
            fields[name] = value
    labels = fields.get("labels")
    if labels is not None and len(labels) == 1 and labels[0].lstrip().startswith("["):
        listed = _loads(labels[0])
        if isinstance(listed, list):  # else it is a label that begins with a bracket
            fields["labels"] = listed
    return fields


def _loads(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json(body: bytes, settings: Settings) -> Classify:
    document = _loads(body)
    if not isinstance(document, dict):
        raise invalid("the body is not a JSON object")
    audio = document.pop("audio", [])
    audio = [audio] if isinstance(audio, dict) else audio
    if not isinstance(audio, list):
        raise invalid('audio: a list of {"data": base64, "name": string} is needed')
    clips = [_json_clip(item, position) for position, item in enumerate(audio)]
    return build(document, clips, settings)


def _json_clip(item: Any, position: int) -> Clip:
    if not isinstance(item, dict) or not isinstance(item.get("data"), str) or item.keys() - {"data", "name"}:
        raise invalid(f'audio.{position}: {{"data": base64, "name": string}} is needed')
    name = item.get("name", f"audio-{position + 1}")
    if not isinstance(name, str):
        raise invalid(f"audio.{position}.name: a string is needed")
    check_unicode(name, f"audio.{position}.name")
    try:
        return Clip(name, base64.b64decode(item["data"], validate=True))
    except (binascii.Error, ValueError):
        raise invalid(f"audio.{position}.data: not valid base64") from None
