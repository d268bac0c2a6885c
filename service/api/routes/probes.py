"""Health probes for an orchestrator: `/livez`, `/readyz`, `/startupz`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse

from service.api.services import Injected

router = APIRouter(tags=["operations"])


def health(good: bool, what: str) -> JSONResponse:
    return JSONResponse({"status": "ok" if good else what}, 200 if good else 503)


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Whether the process, its decoders and the worker make progress")
async def livez(services: Injected) -> JSONResponse:
    if not services.decoders.alive:
        return health(False, "no decoder can be started")
    return health(services.embedder.alive, "stuck")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Whether requests are served: a worker is ready and the process is not draining")
async def readyz(services: Injected) -> JSONResponse:
    if services.shutdown.draining:
        return health(False, "draining")
    if not services.decoders.ready:
        return health(False, "no decoder can be started")
    return health(services.embedder.ready, "the worker is starting")


@router.head("/startupz", include_in_schema=False)
@router.get("/startupz", summary="Whether a worker has started")
async def startupz(services: Injected) -> JSONResponse:
    return health(services.embedder.ready, "the worker is starting")
