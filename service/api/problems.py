"""Errors as RFC 9457 problem documents: one exception and one body for every cause."""

from __future__ import annotations

import math
from enum import Enum
from http import HTTPStatus

from starlette.responses import JSONResponse

from service.api.doors import has_openai_errors, has_plain_errors


class Code(Enum):
    """The contract's error codes, each with its HTTP status."""

    INVALID_REQUEST = ("invalid_request", 422)
    UNKNOWN_LABEL_SET = ("unknown_label_set", 404)
    NOT_FOUND = ("not_found", 404)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405)
    STALE_LABEL_SET = ("stale_label_set", 409)
    PRECONDITION_FAILED = ("precondition_failed", 412)
    UNAUTHORIZED = ("unauthorized", 401)
    FORBIDDEN_ORIGIN = ("forbidden_origin", 403)
    PAYLOAD_TOO_LARGE = ("payload_too_large", 413)
    AUDIO_TOO_LONG = ("audio_too_long", 413)
    UNSUPPORTED_AUDIO = ("unsupported_audio", 415)
    RATE_LIMITED = ("rate_limited", 429)
    OVERLOADED = ("overloaded", 503)
    NOT_READY = ("not_ready", 503)
    DEADLINE_EXCEEDED = ("deadline_exceeded", 504)
    INTERNAL = ("internal", 500)

    def __init__(self, code: str, status: int) -> None:
        self.code = code
        self.status = status


BY_CODE = {code.code: code for code in Code}


class Problem(Exception):
    """Ends a request with a problem document. `detail` is written for the person who sent the request."""

    def __init__(
        self, code: Code, detail: str, retry_after_s: float | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))


def invalid(detail: str) -> Problem:
    """The problem of a request that is itself at fault."""
    return Problem(Code.INVALID_REQUEST, detail)


def document(problem: Problem, request_id: str) -> dict[str, object]:
    """The problem as the members of its document."""
    status = problem.code.status
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": problem.detail,
        "code": problem.code.code,
        "request_id": request_id,
    }


def respond(problem: Problem, request_id: str, path: str = "") -> JSONResponse:
    """The problem as a response, in the form that the clients of the route at `path` read."""
    status = problem.code.status
    if has_plain_errors(path):
        return JSONResponse({"error": problem.detail}, status, problem.headers)
    body = document(problem, request_id)
    if has_openai_errors(path):
        code = problem.code.code
        body["error"] = {"message": problem.detail, "type": code, "param": None, "code": code}
    return JSONResponse(body, status, problem.headers, media_type="application/problem+json")
