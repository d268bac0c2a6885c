"""Before anything of a request to the API is read: who asks, whether they ask too often, and whether there is room."""

from __future__ import annotations

from collections.abc import Sequence

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.deadline import deadline_of
from service.api.keys import Keys
from service.api.problems import Code, Problem, respond
from service.api.rate import Buckets, SharedBuckets
from service.observe.metrics import REJECTED

GUARDED = "/v1/"
CLASSIFY = "/v1/classify"


class Gate:
    """Pure ASGI: a body that nobody may send is never read. `keys` and `buckets` are the application's state.

    `routes` are those behind the gate, by which the metrics name a request that does not get to them.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (path := get_route_path(scope)).startswith(GUARDED):
            state = scope["app"].state
            try:
                headers = Headers(scope=scope)
                await admit(headers, state.keys, state.buckets)
                if path == CLASSIFY and scope["method"] == "POST":
                    state.classifier.check(deadline_of(headers, state.settings))
            except Problem as problem:
                scope["route"] = next((each for each in self.routes if each.matches(scope)[0] is not Match.NONE), None)
                REJECTED.labels(problem.code.code).inc()
                await respond(problem, Request(scope).state.request_id)(scope, receive, send)
                return
        await self.app(scope, receive, send)


async def admit(headers: Headers, keys: Keys, buckets: Buckets | SharedBuckets | None) -> None:
    """Raise Problem for a request without a known key, or one of a key whose bucket is empty."""
    key = keys.check(headers)
    if key is None or buckets is None:
        return
    wait_s = await buckets.take(key)
    if wait_s > 0:
        raise Problem(Code.RATE_LIMITED, "This key has asked too often.", retry_after_s=wait_s)
