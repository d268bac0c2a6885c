"""`GET /v1/model`: the model card."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from model.examples import MAX_EXAMPLES
from service.api.classify import problem_of
from service.api.openapi import PROBLEMS
from service.api.services import Injected
from service.ipc.embedding import EmbeddingError

router = APIRouter(prefix="/v1", responses=PROBLEMS)


@router.get("/model", summary="The checkpoint that is served, and the limits")
async def model(services: Injected) -> dict[str, Any]:
    try:
        info = services.embedder.info
    except EmbeddingError as error:
        raise problem_of(error) from error
    settings, config = services.settings, info.config
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
