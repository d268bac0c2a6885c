"""`POST /v1/embeddings`, in the OpenAI shape."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from model.classify import clip_embedding
from model.prompts import Embeddings
from service.api.base64_text import decode_base64
from service.api.classify import Classifier, problem_of
from service.api.clip import Clip
from service.api.deadline import Deadline, deadline_of
from service.api.embedded_clip import ClipFailure
from service.api.json_body import validated
from service.api.labels import check_text
from service.api.openapi import PROBLEMS, json_request
from service.api.problems import Problem, invalid
from service.api.services import Injected
from service.ipc.embedding import EmbeddingError
from service.observe import stages
from service.settings import Settings

router = APIRouter(prefix="/v1", responses=PROBLEMS)


class EmbeddingsIn(BaseModel):
    """The OpenAI shape. `input` is text, or base64 audio if `modality` is `audio`."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    input: str | list[str]
    modality: Literal["text", "audio"] = "text"
    encoding_format: Literal["float", "base64"] = "float"
    model: str | None = None


@dataclass(frozen=True)
class Inputs:
    """The inputs to embed: texts or clips."""

    texts: list[str]
    clips: list[Clip]
    encoding_format: str


@router.post("/embeddings", summary="Embed texts or recordings", openapi_extra=json_request(EmbeddingsIn))
async def embeddings(request: Request, services: Injected) -> dict[str, Any]:
    settings, classifier = services.settings, services.classifier
    deadline = deadline_of(request.headers, settings)
    inputs = await services.json_bodies.read(request, lambda members: build(members, settings))
    stages.mark("upload")
    try:
        vectors = (
            await embed_recordings(classifier, inputs.clips, deadline)
            if inputs.clips
            else await classifier.embed_texts(inputs.texts, deadline)
        )
        info = services.embedder.info
    except (EmbeddingError, TimeoutError) as error:
        raise problem_of(error) from error
    return {
        "object": "list",
        "model": info.config.name,
        "data": [
            {"object": "embedding", "index": index, "embedding": encoded(vector, inputs.encoding_format)}
            for index, vector in enumerate(vectors)
        ],
    }


def build(members: dict[str, Any], settings: Settings) -> Inputs:
    """Check what can be checked without decoding. Raises Problem."""
    body = validated(EmbeddingsIn, members)
    members.clear()
    items = [body.input] if isinstance(body.input, str) else body.input
    limit = settings.max_labels if body.modality == "text" else settings.max_clips
    if not 1 <= len(items) <= limit:
        raise invalid(f"input: {len(items)} items, 1 to {limit} are taken")
    if body.modality == "text":
        for index, text in enumerate(items):
            check_text(text, f"input.{index}", settings)
        return Inputs(items, [], body.encoding_format)
    clips = []
    for index, item in enumerate(items):
        try:
            clips.append(Clip(f"audio-{index}", decode_base64(item)))
        except ValueError:
            raise invalid(f"input.{index}: not valid base64") from None
    return Inputs([], clips, body.encoding_format)


async def embed_recordings(classifier: Classifier, clips: list[Clip], deadline: Deadline) -> list[Embeddings]:
    vectors = []
    for index, outcome in enumerate(await classifier.embed_clips(clips, deadline)):
        # The OpenAI shape has no place for an error per item, so one bad clip fails the request.
        if isinstance(outcome, ClipFailure):
            raise Problem(outcome.code, f"input.{index}: {outcome.detail}")
        vectors.append(clip_embedding(outcome.vectors))
    return vectors


def encoded(vector: Embeddings, encoding_format: str) -> list[float] | str:
    """An embedding [d] as numbers, or as base64 of little-endian float32."""
    if encoding_format == "base64":
        return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
    return [float(value) for value in vector]
