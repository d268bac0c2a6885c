"""`POST /v1/embeddings`, in the OpenAI shape."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator

from model.classify import clip_embedding
from model.prompts import Embeddings
from service.api.base64_text import decode_base64
from service.api.classify import Classifier, problem_of
from service.api.clip import Clip
from service.api.deadline import Deadline, deadline_of
from service.api.embedded_clip import ClipFailure
from service.api.json_body import validated
from service.api.labels import check_text
from service.api.model_id import check_model
from service.api.openapi import PROBLEMS, json_request
from service.api.problems import Problem, invalid
from service.api.services import Injected
from service.ipc.embedding import EmbeddingError, ModelReplaced
from service.observe import stages
from service.settings import Settings

router = APIRouter(prefix="/v1", responses=PROBLEMS)

RECORDING = re.compile(r"data:(audio/|video/|application/ogg|application/octet-stream)", re.IGNORECASE)


class EmbeddingsIn(BaseModel):
    """What OpenAI's clients send, and `modality`.

    An input is a text, or base64 of a recording if `modality` is `audio`. If `modality` is absent, an input that is a
    data URI of audio or video is a recording, and any other a text. `user` is of no effect.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    input: str | list[str]
    modality: Literal["text", "audio"] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    model: str | None = Field(None, description="The name of the checkpoint, its fingerprint, or `name@fingerprint`.")
    dimensions: int | None = Field(None, ge=1, description="The checkpoint's own number of dimensions.")
    user: str | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _no_tokens(cls, given: object) -> object:
        if isinstance(given, list) and given and isinstance(given[0], int | list):
            raise ValueError("token ids are not taken, only text (for LangChain, set check_embedding_ctx_length=False)")
        return given


@dataclass(frozen=True)
class Inputs:
    """The inputs to embed, each by its position in the request, and the other members of the body."""

    texts: dict[int, str]
    clips: dict[int, Clip]
    body: EmbeddingsIn


@router.post("/embeddings", summary="Embed texts or recordings", openapi_extra=json_request(EmbeddingsIn))
async def embeddings(request: Request, services: Injected) -> dict[str, Any]:
    settings = services.settings
    deadline = deadline_of(request.headers, settings)
    inputs = await services.json_bodies.read(request, lambda members: build(members, settings))
    stages.mark("upload")
    body = inputs.body
    try:
        info = services.embedder.info
        check_model(body.model, info)
        if body.dimensions not in (None, info.config.joint_dim):
            raise invalid(f"dimensions: embeddings of this checkpoint have {info.config.joint_dim}")
        vectors, used = await embed(services.classifier, inputs, deadline)
        if services.embedder.info.fingerprint != info.fingerprint:
            raise ModelReplaced
    except (EmbeddingError, TimeoutError) as error:
        raise problem_of(error) from error
    return {
        "object": "list",
        "model": info.id,
        "data": [
            {"object": "embedding", "index": index, "embedding": encoded(vectors[index], body.encoding_format)}
            for index in range(len(vectors))
        ],
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }


def build(members: dict[str, Any], settings: Settings) -> Inputs:
    """Check what can be checked without decoding. Raises Problem."""
    body = validated(EmbeddingsIn, members)
    members.clear()
    items = [body.input] if isinstance(body.input, str) else body.input
    if not items:
        raise invalid("input: at least one item is needed")
    texts, clips = {}, {}
    for index, item in enumerate(items):
        if body.modality == "audio" or (body.modality is None and RECORDING.match(item)):
            try:
                clips[index] = Clip(f"audio-{index}", decode_base64(item))
            except ValueError:
                raise invalid(f"input.{index}: not valid base64") from None
        else:
            check_text(item, f"input.{index}", settings)
            texts[index] = item
        for kind, count, limit in (
            ("texts", len(texts), settings.max_labels),
            ("recordings", len(clips), settings.max_clips),
        ):
            if count > limit:
                raise invalid(f"input: more than {limit} {kind}, the limit is {limit}")
    return Inputs(texts, clips, body)


async def embed(classifier: Classifier, inputs: Inputs, deadline: Deadline) -> tuple[dict[int, Embeddings], int]:
    """The embedding [d] of each input by its position, and how many words and windows were embedded.

    Raises EmbeddingError, TimeoutError, or Problem for a recording that cannot be used.
    """
    vectors, used = {}, 0
    if inputs.clips:
        outcomes = await classifier.embed_clips(list(inputs.clips.values()), deadline)
        for index, outcome in zip(inputs.clips, outcomes, strict=True):
            # The OpenAI shape has no place for an error per item, so one bad clip fails the request.
            if isinstance(outcome, ClipFailure):
                raise Problem(outcome.code, f"input.{index}: {outcome.detail}")
            vectors[index] = clip_embedding(outcome.vectors)
            used += len(outcome.vectors)
    if inputs.texts:
        texts = list(inputs.texts.values())
        vectors |= zip(inputs.texts, await classifier.embed_texts(texts, deadline), strict=True)
        used += sum(len(text.split()) for text in texts)
    return vectors, used


def encoded(vector: Embeddings, encoding_format: str) -> list[float] | str:
    """An embedding [d] as numbers, or as base64 of little-endian float32."""
    if encoding_format == "base64":
        return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
    return [float(value) for value in vector]
