"""`/v1/label-sets`: labels that are sent once and then named."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from model.prompts import check_template
from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.registry import LabelSets
from service.api.label_sets.set_name import SHARED
from service.api.labels import LabelIn, check_labels, check_text
from service.api.openapi import PROBLEMS
from service.api.problems import invalid
from service.api.services import Injected

router = APIRouter(prefix="/v1", responses=PROBLEMS)


class LabelSetIn(BaseModel):
    """What is registered under an id."""

    model_config = ConfigDict(extra="forbid")

    labels: list[str | LabelIn] = Field(min_length=1)
    template: str | None = Field(None, min_length=1)


SetId = Annotated[str, Path(pattern="^[A-Za-z0-9._-]{1,100}$")]
EtagList = Annotated[str | None, Header(max_length=1_000, description="Etags, or *.")]


def shown(label_set: LabelSet, sets: LabelSets, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = label_set.etag
    return {**asdict(label_set), "storage": sets.storage}


@router.put("/label-sets/{id}", summary="Register labels under an id", responses={201: {"description": "A new set."}})
async def put_label_set(
    services: Injected,
    response: Response,
    id: SetId,
    body: LabelSetIn,
    if_match: EtagList = None,
    if_none_match: EtagList = None,
) -> dict[str, Any]:
    if body.template is not None:
        try:
            check_template(body.template)
        except ValueError as error:
            raise invalid(f"template: {error}") from None
        check_text(body.template, "template", services.settings)
    label_set = LabelSet(id, check_labels(body.labels, services.settings), body.template)
    sets = services.label_sets
    response.status_code = 201 if await sets.put(label_set, Condition(if_match, if_none_match)) else 200
    return shown(label_set, sets, response)


@router.get("/label-sets/{id}", summary="A registered label set")
async def get_label_set(services: Injected, response: Response, id: SetId) -> dict[str, Any]:
    sets = services.label_sets
    return shown(await sets.get(id), sets, response)


@router.delete("/label-sets/{id}", summary="Forget a label set", status_code=204)
async def delete_label_set(services: Injected, id: SetId, if_match: EtagList = None) -> None:
    await services.label_sets.delete(id, Condition(if_match))


@router.get("/label-sets", summary="All registered label sets")
async def list_label_sets(services: Injected) -> dict[str, Any]:
    sets = services.label_sets
    rows = [
        {"id": name.id, "labels": summary.labels, "etag": summary.etag, "shared": name.owner == SHARED}
        for name, summary in await sets.summaries()
    ]
    return {"label_sets": rows, "storage": sets.storage}
