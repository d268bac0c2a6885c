"""`POST /` and `POST /hf`: what the clients of Hugging Face's inference endpoints send for audio classification."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from starlette.responses import Response

from model.classify import Activation, clip_embedding, ranked
from service.api.answer import EmbeddedRequest
from service.api.base64_text import decode_base64
from service.api.classify import problem_of
from service.api.clip import Clip
from service.api.deadline import deadline_of
from service.api.embedded_clip import ClipFailure
from service.api.json_body import read_body, validated
from service.api.labels import check_activation, resolve, resolved
from service.api.media_type import JSON, media_type
from service.api.openapi import HUGGING_FACE, PLAIN_ERRORS
from service.api.owner import Owner
from service.api.problems import Problem, invalid
from service.api.request import build, json_list
from service.api.services import Injected
from service.ipc.embedding import EmbeddingError
from service.observe import stages

router = APIRouter(responses=PLAIN_ERRORS)

DEFAULT_TOP_K = 5
"""How many of the default labels are returned, as by the `audio-classification` pipeline of transformers."""
LABELS = ("candidate_labels", "candidate_labels[]")


class Parameters(BaseModel):
    """The parameters of the tasks `audio-classification` and `zero-shot-*-classification`, and `label_set`."""

    model_config = ConfigDict(extra="forbid")

    candidate_labels: list[str] | None = Field(None, min_length=1)
    label_set: str | None = Field(None, max_length=200)
    hypothesis_template: str | None = None
    multi_label: bool | None = None
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    top_k: int | None = Field(None, ge=1, le=1_000_000)

    @field_validator("candidate_labels", mode="before")
    @classmethod
    def _split(cls, labels: object) -> object:
        return split(labels) if isinstance(labels, str) else labels

    @model_validator(mode="after")
    def _one_activation(self) -> Parameters:
        if self.multi_label and self.function_to_apply not in (None, "sigmoid"):
            raise ValueError(f"multi_label asks for sigmoid, and function_to_apply for {self.function_to_apply}")
        return self

    @property
    def activation(self) -> Activation:
        return "sigmoid" if self.multi_label or self.function_to_apply == "sigmoid" else "softmax"


class Row(msgspec.Struct, gc=False):
    """One row of an answer."""

    label: str
    score: float


def split(text: str) -> list[Any]:
    """Labels separated by commas, as Hugging Face's pipelines read a string, or a JSON list."""
    listed = json_list(text) if text.lstrip().startswith("[") else None
    return listed if listed is not None else [label.strip() for label in text.split(",") if label.strip()]


@router.post("/", openapi_extra=HUGGING_FACE, summary="Score a recording, in the form of Hugging Face's endpoints")
@router.post("/hf", openapi_extra=HUGGING_FACE, summary="Score a recording, in the form of Hugging Face's endpoints")
async def hugging_face(request: Request, services: Injected, owner: Owner) -> Response:
    deadline = deadline_of(request.headers, services.settings)
    members = in_query(request.query_params.multi_items())
    if media_type(request.headers.get("content-type", "")) == JSON:
        data, in_body = await services.json_bodies.read(request, in_json)
        if twice := members.keys() & in_body.keys():
            raise invalid(f"{min(twice)}: in the query and in the body")
        members |= in_body
    else:
        data = await read_body(request)
    stages.mark("upload")
    parameters = validated(Parameters, {name: value for name, value in members.items() if value not in ("", None)})
    by_default = parameters.candidate_labels is None and parameters.label_set is None
    fields = {
        "labels": parameters.candidate_labels,
        "label_set": services.default_labels.id if by_default else parameters.label_set,
        "template": parameters.hypothesis_template,
        "activation": parameters.activation,
        "top_k": parameters.top_k or (DEFAULT_TOP_K if by_default else None),
    }
    asked = build(fields, [Clip("audio", data)] if data else [], services.settings)
    try:
        defaults = services.embedder.info.config.prompts
    except EmbeddingError as error:
        raise problem_of(error) from error
    template = asked.fields.template
    labels = (
        resolved(services.default_labels, template, defaults)
        if by_default
        else await resolve(asked.labels, template, services.label_sets, owner, defaults)
    )
    check_activation(labels.prompts.labels, asked.fields.activation, none_of_these=False)
    write = write_logits if parameters.function_to_apply == "none" else write_scores
    answer = await services.classifier.classify(asked.clips, labels, asked.fields, deadline, write)
    return Response(answer, media_type=JSON)


def in_query(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """The parameters in a query. One `candidate_labels` is split at its commas, repeated ones are taken as they are.

    Raises Problem for another parameter that is given twice.
    """
    labels: list[Any] = [value for name, value in pairs if name in LABELS]
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise invalid(f"{name[:100]}: given twice")
        if name not in LABELS:
            members[name] = value
    if labels:
        members["candidate_labels"] = labels[0] if len(labels) == 1 else labels
    return members


def in_json(document: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """The recording and the parameters in a body, which is emptied. Raises Problem.

    `options`, which tells Hugging Face's own servers whether to wait and to cache, is of no effect.
    """
    inputs, parameters = document.pop("inputs", None), document.pop("parameters", None)
    document.pop("options", None)
    if document:
        raise invalid(f"{min(document)[:100]}: an unknown member; `inputs` and `parameters` are read")
    if isinstance(inputs, dict):
        inputs = inputs.get("audio", inputs.get("image"))
    if not isinstance(inputs, str):
        raise invalid('inputs: base64 of one recording is needed, or {"audio": base64}')
    if not isinstance(parameters, dict | None):
        raise invalid("parameters: an object is needed")
    try:
        return decode_base64(inputs), parameters or {}
    except ValueError:
        raise invalid("inputs: not valid base64") from None


def write_scores(request: EmbeddedRequest) -> bytes:
    """`[{"label", "score"}]` of the only clip, best first."""
    return write(request, logits=False)


def write_logits(request: EmbeddedRequest) -> bytes:
    """The same with logits, which are the checkpoint's scale times the similarity, instead of scores."""
    return write(request, logits=True)


def write(request: EmbeddedRequest, *, logits: bool) -> bytes:
    [outcome] = request.outcomes
    if isinstance(outcome, ClipFailure):
        raise Problem(outcome.code, outcome.detail)
    fields, scale = request.fields, request.info.logit_scale
    scores = request.labels.score(clip_embedding(outcome.vectors)[np.newaxis], scale, fields.activation)
    score = scale * scores.similarity if logits else scores.score
    best = ranked(request.names, score[0], scores.similarity[0], fields.top_k)
    return msgspec.json.encode([Row(label, number) for label, number, _ in best])
