"""`POST /v1/classify`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api import openapi
from service.api.answer import write
from service.api.classify import problem_of
from service.api.deadline import deadline_of
from service.api.labels import check_activation, resolve
from service.api.openapi import PROBLEMS
from service.api.owner import Owner
from service.api.request import parse
from service.api.services import Injected
from service.ipc.embedding import EmbeddingError
from service.observe import stages

router = APIRouter(prefix="/v1", responses=PROBLEMS)


@router.post("/classify", openapi_extra=openapi.CLASSIFY, summary="Score recordings against labels")
async def classify(request: Request, services: Injected, owner: Owner) -> Response:
    deadline = deadline_of(request.headers, services.settings)
    asked = await parse(request, services.settings, services.json_bodies)
    stages.mark("upload")
    try:
        defaults = services.embedder.info.config.prompts
    except EmbeddingError as error:
        raise problem_of(error) from error
    fields = asked.fields
    labels = await resolve(asked.labels, fields.template, services.label_sets, owner, defaults)
    check_activation(labels.prompts.labels, fields.activation, fields.none_of_these)
    answer = await services.classifier.classify(asked.clips, labels, fields, deadline, write, asked.examples)
    return Response(answer, media_type="application/json")
