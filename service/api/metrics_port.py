"""`/metrics`, on the main port or on a port of its own that no ingress exposes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.services import WorkerConnection
from service.api.shutdown import Shutdown
from service.api.worker_metrics import WorkerCollector
from service.observe.metrics import exposition

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_of(workers: WorkerConnection, shutdown: Shutdown) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """A handler that answers with every metric in Prometheus' text format."""

    async def metrics(request: Request) -> Response:  # noqa: ARG001 - a handler's signature
        collector = WorkerCollector(workers, shutdown.draining)
        return Response(await asyncio.to_thread(exposition, collector), media_type=CONTENT_TYPE)

    return metrics


class _Server(uvicorn.Server):
    """Uvicorn that leaves the signals to the main port's server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve_metrics(workers: WorkerConnection, listener: socket.socket, shutdown: Shutdown) -> AsyncIterator[None]:
    """Serve `/metrics` alone on `listener`, which API processes share: each of them reports the sums of all."""
    app = Starlette(routes=[Route("/metrics", metrics_of(workers, shutdown))])
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
