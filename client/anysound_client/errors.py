"""What can go wrong, a class for each code of the HTTP contract."""

from __future__ import annotations

from typing import ClassVar

import httpx


class AnysoundError(Exception):
    """Any failure of a call."""


class ConnectionFailed(AnysoundError):
    """The service could not be reached, or the connection broke before the answer."""


class TimedOut(AnysoundError):
    """The call's time was over before the service answered."""


class ServiceError(AnysoundError):
    """The service answered with a problem document (RFC 9457), or something in front of it with a bare status."""

    code: str = ""
    by_code: ClassVar[dict[str, type[ServiceError]]] = {}

    def __init__(
        self,
        detail: str,
        status: int = 0,
        code: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code or self.code
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    def __init_subclass__(cls) -> None:
        ServiceError.by_code[cls.code] = cls

    def __str__(self) -> str:
        about = [self.code] if self.code else []
        about += [f"request {self.request_id}"] if self.request_id else []
        return f"{self.detail} ({', '.join(about)})" if about else self.detail


class InvalidRequest(ServiceError):
    """A field is missing, unknown or out of bounds."""

    code = "invalid_request"


class UnknownLabelSet(ServiceError):
    """There is no label set of that id."""

    code = "unknown_label_set"


class StaleLabelSet(ServiceError):
    """Another checkpoint embedded the examples of the label set: register it again with its examples."""

    code = "stale_label_set"


class PreconditionFailed(ServiceError):
    """The stored label set is not the version that the call names."""

    code = "precondition_failed"


class Unauthorized(ServiceError):
    """The service requires a key and the given one is not valid."""

    code = "unauthorized"


class PayloadTooLarge(ServiceError):
    """The request is larger than the service accepts."""

    code = "payload_too_large"


class AudioTooLong(ServiceError):
    """A recording is longer than the service accepts."""

    code = "audio_too_long"


class UnsupportedAudio(ServiceError):
    """A recording is not audio that the service can read."""

    code = "unsupported_audio"


class RateLimited(ServiceError):
    """The key has sent too many requests."""

    code = "rate_limited"


class Overloaded(ServiceError):
    """The service cannot finish the work in time."""

    code = "overloaded"


class NotReady(ServiceError):
    """The service is starting or shutting down."""

    code = "not_ready"


class DeadlineExceeded(ServiceError):
    """The deadline passed while the service worked."""

    code = "deadline_exceeded"


class InternalError(ServiceError):
    """The service failed; its log says why, under the request id."""

    code = "internal"


def from_code(
    code: str, detail: str, status: int = 0, request_id: str = "", retry_after_s: float | None = None
) -> ServiceError:
    """The error of a code; a plain ServiceError for a code that this version does not know."""
    return ServiceError.by_code.get(code, ServiceError)(detail, status, code, request_id, retry_after_s)


def from_response(response: httpx.Response) -> ServiceError:
    """The error that an answer of 400 or above stands for."""
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    return from_code(
        str(problem.get("code", "")),
        str(problem.get("detail") or f"the service answered {response.status_code} {response.reason_phrase}"),
        response.status_code,
        str(problem.get("request_id") or response.headers.get("x-request-id", "")),
        retry_after_s(response),
    )


def retry_after_s(response: httpx.Response) -> float | None:
    """Seconds that Retry-After asks for; None without it, or where it is a date (this service sends none)."""
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None
