"""Exceptions of the application as problem documents."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from model.faults import first_fault
from service.api.middleware.body_limits import FULL
from service.api.middleware.exchange import exchange_of
from service.api.problems import Code, Problem, invalid, respond
from service.observe.metrics import REJECTED
from service.settings import Settings

BY_STATUS = {
    400: Code.INVALID_REQUEST,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.PAYLOAD_TOO_LARGE,
    503: Code.OVERLOADED,
}


def handle_failures(app: FastAPI, routes: Sequence[BaseRoute], settings: Settings) -> None:
    """Answer every exception that a client's fault raises, in routes or framework, with a problem document."""
    details = {
        Code.NOT_FOUND: "There is no such route; /docs lists them.",
        Code.METHOD_NOT_ALLOWED: "The route does not take this method.",
        Code.PAYLOAD_TOO_LARGE: f"The body is over the limit of {settings.max_upload_bytes} bytes.",
        Code.INVALID_REQUEST: "The request cannot be read.",
        Code.OVERLOADED: FULL.detail,
    }

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - registered for nothing else
        return _answer(request, error)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return _answer(request, invalid(str(first_fault(error, omit=("body", "str", "LabelIn")))))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        code = BY_STATUS.get(error.status_code, Code.INVALID_REQUEST)
        headers = dict(error.headers or {})
        if code is Code.METHOD_NOT_ALLOWED and (methods := allowed(request.scope, routes)):
            headers["Allow"] = ", ".join(methods)
        if code is Code.METHOD_NOT_ALLOWED and request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        return _answer(request, Problem(code, details[code], headers=headers))

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)


def allowed(scope: Scope, routes: Sequence[BaseRoute]) -> list[str]:
    """The methods of a path. Each method is a route of its own, and Starlette would name only the first route's."""
    matching = (route for route in routes if route.matches(scope)[0] is not Match.NONE)
    return sorted({method for route in matching if isinstance(route, Route) for method in route.methods or ()})


def _answer(request: Request, problem: Problem) -> Response:
    REJECTED.labels(problem.code.code).inc()
    exchange = exchange_of(request.scope)
    return respond(problem, exchange.id, exchange.path)
