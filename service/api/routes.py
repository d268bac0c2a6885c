"""The contract's routes. Thin: parse, ask, answer."""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from model.classify import clip_embedding
from model.prompts import Embeddings, check_template
from service.api import openapi
from service.api.classify import Classifier, ClipFailure, Timings, problem_of
from service.api.deadline import Deadline, deadline_of
from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.registry import LabelSets
from service.api.label_sets.set_name import SHARED
from service.api.problems import Problem
from service.api.request import Clip, LabelIn, check_activation, check_labels, check_text, invalid, parse
from service.ipc.embedding import EmbeddingError
from service.settings import Settings

api = APIRouter(prefix="/v1", responses=openapi.PROBLEMS)
operations = APIRouter(tags=["operations"])


@api.post("/classify", openapi_extra=openapi.CLASSIFY, summary="Score recordings against labels")
async def classify(request: Request) -> JSONResponse:
    state = request.app.state
    timings: Timings = request.state.timings
    deadline = deadline_of(request.headers, state.settings)
    classifier: Classifier = state.classifier
    began = time.perf_counter()
    asked = await parse(request, state.settings)
    timings.add("upload", time.perf_counter() - began)
    labels, fields, version = asked.labels, asked.fields, None
    if fields.label_set is not None:
        began = time.perf_counter()
        stored = await label_sets_of(request).get(fields.label_set)
        timings.add("cache", time.perf_counter() - began)
        labels, version = stored.labels, stored.etag
        fields = fields.model_copy(update={"template": fields.template or stored.template})
        check_activation(len(labels), fields)
    asked = type(asked)(asked.clips, labels, fields)
    answer = await classifier.classify(asked, labels, deadline, timings, version)
    began = time.perf_counter()
    response = JSONResponse(answer)
    timings.add("score", time.perf_counter() - began)
    return response


class EmbeddingsIn(BaseModel):
    """The OpenAI shape. `input` is text, or base64 audio where `modality` says so."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    input: str | list[str]
    modality: Literal["text", "audio"] = "text"
    encoding_format: Literal["float", "base64"] = "float"
    model: str | None = None


@api.post("/embeddings", summary="Embed texts or recordings")
async def embeddings(request: Request, body: EmbeddingsIn) -> dict[str, Any]:
    classifier: Classifier = request.app.state.classifier
    inputs = [body.input] if isinstance(body.input, str) else body.input
    settings: Settings = request.app.state.settings
    limit = settings.max_labels if body.modality == "text" else settings.max_clips
    if not 1 <= len(inputs) <= limit:
        raise invalid(f"input: {len(inputs)} items, 1 to {limit} are taken")
    deadline = deadline_of(request.headers, settings)
    try:
        if body.modality == "text":
            vectors = await embed_texts(classifier, inputs, deadline, settings)
        else:
            vectors = await embed_recordings(classifier, inputs, deadline, request.state.timings)
        info = classifier.embedder.info
    except EmbeddingError as error:
        raise problem_of(error) from error
    return {
        "object": "list",
        "model": info.config.name,
        "data": [
            {"object": "embedding", "index": index, "embedding": encoded(vector, body.encoding_format)}
            for index, vector in enumerate(vectors)
        ],
    }


async def embed_texts(
    classifier: Classifier, texts: list[str], deadline: Deadline, settings: Settings
) -> list[Embeddings]:
    for index, text in enumerate(texts):
        check_text(text, f"input.{index}", settings)
    found = await classifier.prompts.get(list(dict.fromkeys(texts)), deadline.priority)
    return [found.vectors[text] for text in texts]


async def embed_recordings(
    classifier: Classifier, encoded_clips: list[str], deadline: Deadline, timings: Timings
) -> list[Embeddings]:
    try:
        clips = [Clip(f"audio-{n}", base64.b64decode(data, validate=True)) for n, data in enumerate(encoded_clips)]
    except (binascii.Error, ValueError):
        raise invalid("input: not valid base64") from None
    async with classifier.room(len(clips), deadline, timings) as room:
        outcomes = await classifier.embed_clips(clips, deadline, timings, room)
    vectors = []
    for index, outcome in enumerate(outcomes):
        # The shape has no place for an error beside the vectors: one bad clip is the request's failure.
        if isinstance(outcome, ClipFailure):
            raise Problem(outcome.code, f"input.{index}: {outcome.detail}")
        vectors.append(clip_embedding(outcome.vectors))
    return vectors


def encoded(vector: Embeddings, encoding_format: str) -> list[float] | str:
    if encoding_format == "base64":
        return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
    return [float(value) for value in vector]


class LabelSetIn(BaseModel):
    """What is registered under an id."""

    model_config = ConfigDict(extra="forbid")

    labels: list[str | LabelIn] = Field(min_length=1)
    template: str | None = Field(None, min_length=1)


SetId = Annotated[str, Path(pattern="^[A-Za-z0-9._-]{1,100}$")]
EtagList = Annotated[str | None, Header(max_length=1_000, description="Etags, or *.")]


def label_sets_of(request: Request) -> LabelSets:
    sets: LabelSets = request.app.state.label_sets
    return sets


def shown(label_set: LabelSet, sets: LabelSets, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = label_set.etag
    return {**asdict(label_set), "storage": sets.storage}


@api.put("/label-sets/{id}", summary="Register labels under an id", responses={201: {"description": "A new set."}})
async def put_label_set(
    request: Request,
    response: Response,
    id: SetId,
    body: LabelSetIn,
    if_match: EtagList = None,
    if_none_match: EtagList = None,
) -> dict[str, Any]:
    state = request.app.state
    if body.template is not None:
        try:
            check_template(body.template)
        except ValueError as error:
            raise invalid(f"template: {error}") from None
        check_text(body.template, "template", state.settings)
    label_set = LabelSet(id, check_labels(body.labels, state.settings), body.template)
    sets = label_sets_of(request)
    response.status_code = 201 if await sets.put(label_set, Condition(if_match, if_none_match)) else 200
    return shown(label_set, sets, response)


@api.get("/label-sets/{id}", summary="A registered label set")
async def get_label_set(request: Request, response: Response, id: SetId) -> dict[str, Any]:
    sets = label_sets_of(request)
    return shown(await sets.get(id), sets, response)


@api.delete("/label-sets/{id}", summary="Forget a label set", status_code=204)
async def delete_label_set(request: Request, id: SetId, if_match: EtagList = None) -> None:
    await label_sets_of(request).delete(id, Condition(if_match))


@api.get("/label-sets", summary="All registered label sets")
async def list_label_sets(request: Request) -> dict[str, Any]:
    sets = label_sets_of(request)
    rows = [
        {"id": name.id, "labels": summary.labels, "etag": summary.etag, "shared": name.owner == SHARED}
        for name, summary in await sets.summaries()
    ]
    return {"label_sets": rows, "storage": sets.storage}


@api.get("/model", summary="What is served")
async def model(request: Request) -> dict[str, Any]:
    try:
        info = request.app.state.classifier.embedder.info
    except EmbeddingError as error:
        raise problem_of(error) from error
    settings: Settings = request.app.state.settings
    config = info.config
    return {
        "name": config.name,
        "fingerprint": info.fingerprint,
        "licence": config.licence,
        "sources": list(config.sources),
        "front_end": config.front_end.model_dump(),
        "audio_encoder": config.audio_encoder.model_dump(),
        "joint_dim": config.joint_dim,
        "logit_scale": info.logit_scale,
        "template": config.prompts.template,
        "background": list(config.prompts.background),
        "device": info.device,
        "dtype": info.dtype,
        "limits": {
            "max_upload_bytes": settings.max_upload_bytes,
            "max_audio_seconds": settings.max_audio_seconds,
            "max_clips": settings.max_clips,
            "max_labels": settings.max_labels,
            "max_label_chars": settings.max_label_chars,
            "request_timeout_s": settings.request_timeout_s,
        },
    }


def health(good: bool, what: str) -> JSONResponse:
    return JSONResponse({"status": "ok" if good else what}, 200 if good else 503)


@operations.get("/livez", summary="The process and the worker make progress")
async def livez(request: Request) -> JSONResponse:
    return health(request.app.state.classifier.embedder.alive, "stuck")


@operations.get("/readyz", summary="Warm, and not shutting down")
async def readyz(request: Request) -> JSONResponse:
    state = request.app.state
    if state.drain is not None and state.drain.draining:
        return health(False, "draining")
    return health(state.classifier.embedder.ready, "the worker is starting")


@operations.get("/startupz", summary="Started")
async def startupz(request: Request) -> JSONResponse:
    return health(request.app.state.classifier.embedder.ready, "the worker is starting")
