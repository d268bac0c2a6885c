"""`POST /v1/embeddings`, in the OpenAI shape."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from model.classify import clip_embedding
from model.prompts import Embeddings
from service.api.classify import Classifier, ClipFailure, problem_of
from service.api.deadline import Deadline, deadline_of
from service.api.labels import check_text
from service.api.openapi import PROBLEMS
from service.api.problems import Problem, invalid
from service.api.request import Clip
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


@router.post("/embeddings", summary="Embed texts or recordings")
async def embeddings(request: Request, body: EmbeddingsIn, services: Injected) -> dict[str, Any]:
    stages.mark("upload")
    inputs = [body.input] if isinstance(body.input, str) else body.input
    settings, classifier = services.settings, services.classifier
    limit = settings.max_labels if body.modality == "text" else settings.max_clips
    if not 1 <= len(inputs) <= limit:
        raise invalid(f"input: {len(inputs)} items, 1 to {limit} are taken")
    deadline = deadline_of(request.headers, settings)
    try:
        if body.modality == "text":
            vectors = await embed_texts(classifier, inputs, deadline, settings)
        else:
            vectors = await embed_recordings(classifier, inputs, deadline)
        info = services.embedder.info
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
    return await classifier.embed_texts(texts, deadline)


async def embed_recordings(classifier: Classifier, encoded_clips: list[str], deadline: Deadline) -> list[Embeddings]:
    try:
        clips = [Clip(f"audio-{n}", base64.b64decode(data, validate=True)) for n, data in enumerate(encoded_clips)]
    except (binascii.Error, ValueError):
        raise invalid("input: not valid base64") from None
    vectors = []
    for index, outcome in enumerate(await classifier.embed_clips(clips, deadline)):
        # The shape has no place for an error beside the vectors: one bad clip is the request's failure.
        if isinstance(outcome, ClipFailure):
            raise Problem(outcome.code, f"input.{index}: {outcome.detail}")
        vectors.append(clip_embedding(outcome.vectors))
    return vectors


def encoded(vector: Embeddings, encoding_format: str) -> list[float] | str:
    """An embedding [d] as numbers, or as base64 of little-endian float32."""
    if encoding_format == "base64":
        return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
    return [float(value) for value in vector]
