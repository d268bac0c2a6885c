"""Log lines say which request they are about, in both formats."""

from __future__ import annotations

import json
import logging

from service.observe.logs import JsonFormatter, TextFormatter, of_request

RECORD = logging.LogRecord("anysound.worker", logging.WARNING, __file__, 1, "an item was rejected: %s", ("why",), None)


def test_a_line_about_a_request_names_it() -> None:
    with of_request("abc-1"):
        assert json.loads(JsonFormatter().format(RECORD))["request_id"] == "abc-1"
        assert "request_id=abc-1 an item was rejected: why" in TextFormatter().format(RECORD)


def test_a_line_about_no_request_names_none() -> None:
    assert "request_id" not in json.loads(JsonFormatter().format(RECORD))
    assert "request_id" not in TextFormatter().format(RECORD)


def test_fields_stand_for_the_message() -> None:
    record = logging.makeLogRecord({"name": "anysound.access", "msg": "a=1", "fields": {"a": 1, "request_id": "own"}})
    with of_request("other"):
        line = json.loads(JsonFormatter().format(record))
        assert TextFormatter().format(record).endswith("anysound.access a=1")
    assert (line["a"], line["request_id"]) == (1, "own")
    assert "message" not in line
