"""Checks before a body is read: who asks, whether they ask too often, and whether there is room for the work."""

from __future__ import annotations

from collections.abc import Sequence

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.classify import problem_of
from service.api.deadline import Deadline, deadline_of
from service.api.doors import classifies, guarded
from service.api.keys import Keys
from service.api.middleware.exchange import exchange_of
from service.api.problems import Code, Problem, respond
from service.api.rate import Buckets, SharedBuckets
from service.api.services import Services
from service.ipc.embedding import Embedder, EmbeddingError
from service.observe import stages
from service.observe.metrics import REJECTED


class Gate:
    """ASGI middleware: refuses a request before its body is read.

    `routes` are those behind the gate. The metrics name a refused request by them.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and guarded(scope["method"], path := get_route_path(scope)):
            services: Services = scope["app"].state.services
            exchange = exchange_of(scope)
            try:
                exchange.caller = await admit(exchange.headers, services.keys, services.buckets)
                if classifies(scope["method"], path):
                    check_room(services.embedder, deadline_of(exchange.headers, services.settings))
            except Problem as problem:
                scope["route"] = next((each for each in self.routes if each.matches(scope)[0] is not Match.NONE), None)
                REJECTED.labels(problem.code.code).inc()
                await respond(problem, exchange_of(scope).id, path)(scope, receive, send)
                return
        await self.app(scope, receive, send)


async def admit(
    headers: Headers, keys: Keys, buckets: Buckets | SharedBuckets | None, other_key: bytes = b""
) -> str | None:
    """The name of the caller, None if no key is needed. `other_key` is a key that came elsewhere than in headers.

    Raises Problem for a request without a known key, or of a caller whose bucket is empty.
    """
    caller = keys.check(headers, other_key)
    if caller is not None and buckets is not None:
        wait_s = await buckets.take(caller)
        stages.mark("cache")
        if wait_s > 0:
            raise Problem(Code.RATE_LIMITED, "This key has sent too many requests.", retry_after_s=wait_s)
    return caller


def check_room(embedder: Embedder, deadline: Deadline) -> None:
    """Raise Problem for a request that would be refused whatever its body holds."""
    try:
        embedder.check(deadline=deadline.at, priority=deadline.priority)
    except EmbeddingError as error:
        raise problem_of(error) from error
