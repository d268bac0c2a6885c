"""Health probes for an orchestrator: `/livez`, `/readyz`, `/startupz`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse

from service.api.services import Injected, Services

router = APIRouter(tags=["operations"])


def live_fault(services: Services) -> str | None:
    """Why the process is not live; None if it is."""
    if not services.decoders.alive:
        return "no decoder can be started"
    return None if services.embedder.alive else "stuck"


def ready_fault(services: Services) -> str | None:
    """Why the process is not ready; None if it is."""
    if services.shutdown.draining:
        return "draining"
    if not services.decoders.ready:
        return "no decoder can be started"
    return None if services.embedder.ready else "the worker is starting"


def health(fault: str | None) -> JSONResponse:
    return JSONResponse({"status": fault or "ok"}, 503 if fault else 200)


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Whether the process, its decoders and the worker make progress")
async def livez(services: Injected) -> JSONResponse:
    return health(live_fault(services))


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Whether requests are served: a worker is ready and the process is not draining")
async def readyz(services: Injected) -> JSONResponse:
    return health(ready_fault(services))


@router.head("/startupz", include_in_schema=False)
@router.get("/startupz", summary="Whether a worker has started")
async def startupz(services: Injected) -> JSONResponse:
    return health(None if services.embedder.ready else "the worker is starting")
