"""`GET /v1/model`: the model card; `GET /v1/models`: the same in the OpenAI list shape."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path

from model.examples import MAX_EXAMPLES
from model.info import ModelInfo
from service.api.classify import problem_of
from service.api.model_id import names, unknown_model
from service.api.openapi import PROBLEMS
from service.api.services import Injected
from service.ipc.embedding import Embedder, EmbeddingError
from service.settings import Settings

router = APIRouter(prefix="/v1", responses=PROBLEMS)


@router.get("/model", summary="The checkpoint that is served, and the limits")
async def model(services: Injected) -> dict[str, Any]:
    return card(info_of(services.embedder), services.settings)


@router.get("/models", summary="The checkpoint that is served, as a list of one in the OpenAI shape")
async def models(services: Injected) -> dict[str, Any]:
    return {"object": "list", "data": [entry(info_of(services.embedder), services.settings)]}


@router.get("/models/{id:path}", summary="The checkpoint that is served, in the OpenAI shape")
async def retrieve(services: Injected, id: Annotated[str, Path(max_length=1_000)]) -> dict[str, Any]:
    info = info_of(services.embedder)
    if not names(id, info):
        raise unknown_model(id, info)
    return entry(info, services.settings)


def info_of(embedder: Embedder) -> ModelInfo:
    """The model that is served. Raises Problem before the first worker was ready."""
    try:
        return embedder.info
    except EmbeddingError as error:
        raise problem_of(error) from error


def entry(info: ModelInfo, settings: Settings) -> dict[str, Any]:
    """The model in the OpenAI shape, whose required members come before the card. When it was made is not known."""
    return {"id": info.config.name, "object": "model", "created": 0, "owned_by": "anysound", **card(info, settings)}


def card(info: ModelInfo, settings: Settings) -> dict[str, Any]:
    """The model card."""
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
        "example_scale": None if config.example_scale is None else config.example_scale.model_dump(),
        "device": info.device,
        "dtype": info.dtype,
        "limits": {
            "max_upload_bytes": settings.max_upload_bytes,
            "max_audio_seconds": settings.max_audio_seconds,
            "max_clips": settings.max_clips,
            "max_request_windows": settings.max_request_windows,
            "max_examples": settings.max_examples,
            "max_examples_per_label": MAX_EXAMPLES,
            "max_labels": settings.max_labels,
            "max_label_chars": settings.max_label_chars,
            "request_timeout_s": settings.request_timeout_s,
        },
    }
