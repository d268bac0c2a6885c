"""`/v1/label-sets`: labels that are registered once and then named by id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from model.prompts import check_template
from service.api.deadline import deadline_of
from service.api.examples import SentExamples, match_examples, take_examples
from service.api.json_body import BRIEF_BYTES, validated
from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.registry import BRIEF_TEXTS
from service.api.label_sets.set_name import ID, SHARED
from service.api.labels import LabelIn, check_labels, check_text
from service.api.media_type import FORM, media_type
from service.api.multipart import Part, read_form
from service.api.openapi import PROBLEMS, label_set_request
from service.api.owner import Owner
from service.api.problems import Code, Problem, invalid
from service.api.request import members, read_parts
from service.api.services import Injected
from service.observe import stages
from service.offload import off_loop
from service.settings import Settings

router = APIRouter(prefix="/v1", responses=PROBLEMS)


class LabelSetIn(BaseModel):
    """The labels and the template to register under an id."""

    model_config = ConfigDict(extra="forbid")

    labels: list[str | LabelIn] = Field(min_length=1)
    template: str | None = Field(None, min_length=1)


SetId = Annotated[str, Path(pattern=f"^{ID.pattern}$")]
EtagList = Annotated[str | None, Header(max_length=1_000, description="Etags, or *.")]


@router.put(
    "/label-sets/{id}",
    summary="Register labels under an id",
    responses={201: {"description": "A new set."}},
    response_model=dict[str, Any],
    openapi_extra=label_set_request(LabelSetIn),
)
async def put_label_set(
    request: Request,
    services: Injected,
    owner: Owner,
    id: SetId,
    if_match: EtagList = None,
    if_none_match: EtagList = None,
) -> Response:
    settings = services.settings
    deadline = deadline_of(request.headers, settings)
    if media_type(request.headers.get("content-type", "")) == FORM:
        parts = await read_form(request, {"examples": settings.max_examples})
        text_bytes = sum(len(part.data) for part in parts if not part.is_file)
        label_set, examples = await off_loop(text_bytes <= BRIEF_BYTES, build_form, id, parts, settings)
    else:
        label_set, examples = await services.json_bodies.read(request, lambda given: build(id, given, settings))
    stages.mark("upload")
    if examples:
        made = await services.classifier.embed_examples(
            label_set.labels, examples, deadline, settings.max_examples_seconds
        )
        label_set = replace(label_set, examples=made)
    await off_loop(label_set.texts <= BRIEF_TEXTS, check_size, label_set, settings)
    created = await services.label_sets.put(label_set, Condition(if_match, if_none_match), owner)
    return await shown(label_set, services.label_sets.storage, 201 if created else 200)


@router.get("/label-sets/{id}", summary="A registered label set", response_model=dict[str, Any])
async def get_label_set(services: Injected, owner: Owner, id: SetId) -> Response:
    return await shown(await services.label_sets.get(id, owner), services.label_sets.storage)


@router.delete("/label-sets/{id}", summary="Forget a label set", status_code=204)
async def delete_label_set(services: Injected, owner: Owner, id: SetId, if_match: EtagList = None) -> None:
    await services.label_sets.delete(id, Condition(if_match), owner)


@router.get("/label-sets", summary="The caller's label sets and the shared ones")
async def list_label_sets(services: Injected, owner: Owner) -> dict[str, Any]:
    rows = [
        {"id": name.id, "labels": summary.labels, "etag": summary.etag, "shared": name.owner == SHARED}
        for name, summary in await services.label_sets.summaries(owner)
    ]
    return {"label_sets": rows, "storage": services.label_sets.storage}


def build(
    id: str, given: dict[str, Any], settings: Settings, files: SentExamples | None = None
) -> tuple[LabelSet, SentExamples]:
    """The set that a body describes, checked against the limits, and its examples. Raises Problem."""
    listed = take_examples(given.get("labels"), settings)
    body = validated(LabelSetIn, given)
    if body.template is not None:
        try:
            check_template(body.template)
        except ValueError as error:
            raise invalid(f"template: {error}") from None
        check_text(body.template, "template", settings)
    labels = check_labels(body.labels, settings)
    return LabelSet(id, labels, body.template), match_examples(labels, listed, files or {}, settings)


def build_form(id: str, parts: Iterable[Part], settings: Settings) -> tuple[LabelSet, SentExamples]:
    """The set that a form describes, and its examples. Raises Problem."""
    _, files, pairs = read_parts(parts)
    return build(id, {name: value for name, value in members(pairs).items() if value != ""}, settings, files)


def check_size(label_set: LabelSet, settings: Settings) -> None:
    """Raise Problem if a set takes more than one may."""
    size, limit = len(label_set.document), settings.max_label_sets_bytes_per_key
    if size > limit:
        detail = f"The label set has {size}; the limit is {limit} bytes (max_label_sets_bytes_per_key)."
        raise Problem(Code.PAYLOAD_TOO_LARGE, detail)


async def shown(label_set: LabelSet, storage: str, status: int = 200) -> Response:
    """A set as an answer: its content, and where it is stored."""

    def answer() -> Response:
        body = b'%s,"storage":"%s"}' % (label_set.shown.removesuffix(b"}"), storage.encode())
        return Response(body, status, {"ETag": label_set.etag}, "application/json")

    return await off_loop(label_set.texts <= BRIEF_TEXTS, answer)
