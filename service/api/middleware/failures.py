"""Every exception that leaves the application becomes a problem document."""

from __future__ import annotations

import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.middleware.exchange import exchange_of
from service.api.problems import Code, Problem, respond
from service.observe.metrics import REJECTED

log = logging.getLogger("anysound.access")


class Failures:
    """ASGI middleware: turns an exception into a problem document; a client that has left gets no answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
            return
        except ClientDisconnect:
            return
        except TimeoutError:
            problem = Problem(Code.DEADLINE_EXCEEDED, "The request took too long.")
        except Exception:
            log.exception("the request failed")
            problem = Problem(Code.INTERNAL, "The service failed.")
        exchange = exchange_of(scope)
        if exchange.answer_status is None:
            REJECTED.labels(problem.code.code).inc()
            await respond(problem, exchange.id, exchange.path)(scope, receive, send)
