"""`/v2`: the Open Inference Protocol, for the clients of Triton and KServe."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, Response

from model.classify import clip_embedding
from service.api.answer import EmbeddedRequest
from service.api.base64_text import decode_base64
from service.api.clip import Clip
from service.api.deadline import deadline_of
from service.api.embedded_clip import ClipFailure
from service.api.json_body import read_body, validated
from service.api.labels import check_activation, resolve
from service.api.media_type import JSON
from service.api.openapi import INFER, PLAIN_ERRORS
from service.api.owner import Owner
from service.api.problems import Code, Problem, invalid
from service.api.request import Classify, build
from service.api.routes.model import info_of
from service.api.routes.probes import live_fault, ready_fault
from service.api.services import Injected, Services
from service.api.tensors import InferIn, Output, read_inputs, write_outputs
from service.observe import stages
from service.settings import Settings

router = APIRouter(prefix="/v2", responses=PLAIN_ERRORS)

JSON_LENGTH = "inference-header-content-length"
VERSION = "1"
BYTES = {"datatype": "BYTES", "shape": [-1]}
SCORES = {"datatype": "FP32", "shape": [-1, -1]}

# A name may have slashes, so the routes of a version are tried first: they stand next to their function.
Name = Annotated[str, Path(max_length=1_000)]


@router.get("", summary="The server, in the Open Inference Protocol")
async def server() -> dict[str, Any]:
    return {"name": "anysound", "version": version("anysound"), "extensions": ["binary_tensor_data"]}


@router.get("/health/live", summary="As /livez")
async def live(services: Injected) -> JSONResponse:
    good = live_fault(services) is None
    return JSONResponse({"live": good}, 200 if good else 503)


@router.get("/health/ready", summary="As /readyz")
async def ready(services: Injected) -> JSONResponse:
    good = ready_fault(services) is None
    return JSONResponse({"ready": good}, 200 if good else 503)


@router.get("/models/{name:path}/ready", summary="Whether a model is served")
@router.get("/models/{name:path}/versions/{version}/ready", include_in_schema=False)
async def model_ready(services: Injected, name: Name, version: str = VERSION) -> JSONResponse:
    check_name(services, name, version)
    good = ready_fault(services) is None
    return JSONResponse({"name": name, "ready": good}, 200 if good else 503)


@router.post("/models/{name:path}/infer", summary="Score recordings against labels", openapi_extra=INFER)
@router.post("/models/{name:path}/versions/{version}/infer", include_in_schema=False)
async def infer(request: Request, services: Injected, owner: Owner, name: Name, version: str = VERSION) -> Response:
    deadline = deadline_of(request.headers, services.settings)
    check_name(services, name, version)
    body = await read_body(request)
    size, length = len(body), json_length(request.headers.get(JSON_LENGTH), len(body))
    raw = memoryview(body)[length:] if length < size else memoryview(b"")
    head = [body[:length]]
    del body  # JSON is let go once it is parsed

    def read(members: dict[str, Any]) -> tuple[InferIn, Classify]:
        asked = validated(InferIn, members)
        members.clear()
        return asked, classify_request(asked, raw, services.settings)

    asked, classify = await services.json_bodies.parse(head, size, read)
    stages.mark("upload")
    defaults = info_of(services.embedder).config.prompts
    fields = classify.fields
    labels = await resolve(classify.labels, fields.template, services.label_sets, owner, defaults)
    check_activation(labels.prompts.labels, fields.activation, none_of_these=False)
    document = {"model_name": name, "model_version": VERSION, **({} if asked.id is None else {"id": asked.id})}
    content, length_of_json = await services.classifier.classify(
        classify.clips, labels, fields, deadline, lambda embedded: write_outputs(document, asked, outputs(embedded))
    )
    if length_of_json is None:
        return Response(content, media_type=JSON)
    return Response(content, headers={JSON_LENGTH: str(length_of_json)}, media_type="application/octet-stream")


@router.get("/models/{name:path}", summary="The inputs and outputs of a model")
@router.get("/models/{name:path}/versions/{version}", include_in_schema=False)
async def model(services: Injected, name: Name, version: str = VERSION) -> dict[str, Any]:
    check_name(services, name, version)
    return {
        "name": name,
        "versions": [VERSION],
        "platform": "anysound",
        "inputs": [{"name": "audio", **BYTES}, {"name": "labels", **BYTES}],
        "outputs": [{"name": "scores", **SCORES}, {"name": "similarity", **SCORES}, {"name": "labels", **BYTES}],
    }


def check_name(services: Services, name: str, version: str) -> None:
    """Raise Problem for another model than the one that is served, or before the first worker was ready."""
    served = info_of(services.embedder).config.name
    if name != served:
        raise Problem(Code.NOT_FOUND, f"There is no model {name[:200]!r}; {served!r} is served.")
    if version != VERSION:
        raise Problem(Code.NOT_FOUND, f"There is no version {version[:200]!r} of the model; its version is 1.")


def json_length(header: str | None, size: int) -> int:
    """Length of the JSON at the start of a body: what the header says, else all of it. Raises Problem."""
    if header is None:
        return size
    if not (header.isascii() and header.isdigit() and len(header) < 20 and int(header) <= size):
        raise invalid(f"{JSON_LENGTH}: a number of bytes up to the length of the body, {size}, is needed")
    return int(header)


def classify_request(asked: InferIn, raw: memoryview, settings: Settings) -> Classify:
    """The request that the tensors make. Raises Problem."""
    tensors = read_inputs(asked.inputs, raw, {"audio": settings.max_clips, "labels": settings.max_labels})
    clips = []
    for position, item in enumerate(tensors.get("audio", [])):
        try:
            clips.append(Clip(f"audio-{position}", decode_base64(item) if isinstance(item, str) else item))
        except ValueError:
            raise invalid(f"audio.{position}: not valid base64, which recordings in JSON are") from None
    labels = []
    for position, item in enumerate(tensors.get("labels", [])):
        try:
            labels.append(item if isinstance(item, str) else item.decode())
        except UnicodeDecodeError:
            raise invalid(f"labels.{position}: not UTF-8") from None
    given = asked.parameters
    fields = {
        "labels": labels,
        "label_set": given.label_set,
        "template": given.template,
        "activation": given.activation,
    }
    return build({name: value for name, value in fields.items() if value}, clips, settings)


def outputs(request: EmbeddedRequest) -> dict[str, Output]:
    """Scores and similarity [clips, labels], and the labels. Raises Problem: a tensor has no place for an error."""
    clips = []
    for position, outcome in enumerate(request.outcomes):
        if isinstance(outcome, ClipFailure):
            raise Problem(outcome.code, f"audio.{position}: {outcome.detail}")
        clips.append(clip_embedding(outcome.vectors))
    scores = request.labels.score(np.stack(clips), request.info.logit_scale, request.fields.activation)
    return {
        "scores": scores.score.astype(np.float32),
        "similarity": scores.similarity.astype(np.float32),
        "labels": request.names,
    }
