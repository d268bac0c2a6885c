"""A request's deadline and priority."""

from __future__ import annotations

import time
from dataclasses import dataclass

from starlette.datastructures import Headers

from service.api.problems import Code, Problem
from service.ipc.embedding import Priority
from service.settings import Settings


@dataclass(frozen=True)
class Deadline:
    """The time at which the answer becomes useless, in `time.monotonic()` seconds, and the priority."""

    at: float
    priority: Priority


def deadline_of(headers: Headers, settings: Settings) -> Deadline:
    """Read the headers X-Deadline-Ms and X-Priority. Raises Problem if they are not valid."""
    longest_ms = settings.request_timeout_s * 1e3
    try:
        given_ms = float(headers.get("x-deadline-ms", longest_ms))
        priority = Priority(headers.get("x-priority", "interactive"))
    except ValueError:
        detail = "X-Deadline-Ms is a number of milliseconds, X-Priority interactive or bulk"
        raise Problem(Code.INVALID_REQUEST, detail) from None
    if not given_ms > 0:
        raise Problem(Code.INVALID_REQUEST, "X-Deadline-Ms: more than 0 is needed")
    return Deadline(time.monotonic() + min(given_ms, longest_ms) / 1e3, priority)
