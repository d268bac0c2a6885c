"""Log lines on standard error: text for people, or one JSON object per line for programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""X-Request-ID of the request that this task works on, in any process; empty if there is none."""


@contextmanager
def of_request(request_id: str) -> Iterator[None]:
    """Log lines written inside the block carry this request's id."""
    token = REQUEST_ID.set(request_id)
    try:
        yield
    finally:
        REQUEST_ID.reset(token)


class TextFormatter(logging.Formatter):
    """Text for people. A line about a request begins with its id."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        if (request_id := REQUEST_ID.get()) and not hasattr(record, "fields"):
            record.message = f"request_id={request_id} {record.message}"
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """`ts`, `level`, `logger`, then the record's `fields` if it has some, else the request's id and `message`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if (fields := getattr(record, "fields", None)) is not None:
            line |= fields
        else:
            line |= {"request_id": request_id} if (request_id := REQUEST_ID.get()) else {}
            line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(log_format: str) -> None:
    """Set up this process' logging."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no format shows them
    handler = logging.StreamHandler()
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
