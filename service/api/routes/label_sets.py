"""`/v1/label-sets`: labels that are registered once and then named by id."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from model.prompts import check_template
from service.api.json_body import validated
from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.registry import BRIEF_TEXTS
from service.api.label_sets.set_name import ID, SHARED
from service.api.labels import LabelIn, check_labels, check_text
from service.api.openapi import PROBLEMS, json_request
from service.api.owner import Owner
from service.api.problems import invalid
from service.api.services import Injected
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
    openapi_extra=json_request(LabelSetIn),
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
    label_set = await services.json_bodies.read(
        request,
        lambda members: build(id, members, settings),
        ("max_label_sets_bytes_per_key", settings.max_label_sets_bytes_per_key),
    )
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


def build(id: str, members: dict[str, Any], settings: Settings) -> LabelSet:
    """The set that a body describes, checked against the limits. Raises Problem."""
    given = validated(LabelSetIn, members)
    if given.template is not None:
        try:
            check_template(given.template)
        except ValueError as error:
            raise invalid(f"template: {error}") from None
        check_text(given.template, "template", settings)
    return LabelSet(id, check_labels(given.labels, settings), given.template)


async def shown(label_set: LabelSet, storage: str, status: int = 200) -> Response:
    """A set as an answer: its document, and where it is stored."""

    def answer() -> Response:
        body = b'%s,"storage":"%s"}' % (label_set.document.removesuffix(b"}"), storage.encode())
        return Response(body, status, {"ETag": label_set.etag}, "application/json")

    return await off_loop(label_set.texts <= BRIEF_TEXTS, answer)
