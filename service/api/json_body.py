"""JSON bodies, within bounds of memory and of time on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from model.faults import first_fault
from service.api.media_type import JSON, media_type
from service.api.problems import Code, Problem, invalid
from service.offload import off_loop

BRIEF_BYTES = 32 << 10
"""Bodies up to this size are parsed on the event loop, larger ones in a thread."""
BRIEF_JOIN_BYTES = 4 << 20
MAX_VALUES = 500_000
"""Numbers, strings, lists and objects in one body. Each takes some 100 bytes in Python, and as few as 2 in JSON."""
UNION_BRANCHES = ("str", "LabelIn", "list[str]")
"""Names that pydantic puts into the path of a fault, and that mean nothing to a client."""

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request) -> bytes:
    """The whole body. The request keeps no copy."""
    chunks = [chunk async for chunk in request.stream()]
    return await off_loop(sum(map(len, chunks)) <= BRIEF_JOIN_BYTES, b"".join, chunks)


class JsonBodies:
    """Reads the JSON bodies of one process, large ones one after the other.

    While it is read, a body takes up to 2.75 times its size: itself, its strings, and what its base64 stands for.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def read(self, request: Request, build: Callable[[dict[str, Any]], T]) -> T:
        """What `build` makes of the body's members. Raises Problem for a body that is not a JSON object."""
        if media_type(request.headers.get("content-type", "")) != JSON:
            raise invalid("the body of this request is JSON, with `Content-Type: application/json`")
        chunks = [chunk async for chunk in request.stream()]
        return await self.parse(chunks, sum(map(len, chunks)), build)

    async def parse(self, chunks: list[bytes], size: int, build: Callable[[dict[str, Any]], T]) -> T:
        """The same for JSON that has been received. `size` is how much `build` reads, in bytes."""
        if size <= BRIEF_BYTES:
            return build(parse_object(chunks))
        async with self._turn:
            return await asyncio.to_thread(lambda: build(parse_object(chunks)))


def parse_object(chunks: list[bytes]) -> dict[str, Any]:
    """The members of a JSON object that came in `chunks`, which are let go. Raises Problem."""
    body = b"".join(chunks)
    chunks.clear()
    if has_more(body, MAX_VALUES):
        raise Problem(Code.PAYLOAD_TOO_LARGE, f"The JSON body has more than {MAX_VALUES} values.")
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise invalid("the body is not a JSON object")
    return document


def has_more(body: bytes, values: int) -> bool:
    """Whether JSON text may have more values than that.

    Every value but the first follows a comma, a bracket, or a brace and a key. Those inside strings are counted as
    well, so that text is searched, which is fast, and not parsed.
    """
    for mark in (b",", b"[", b"{"):
        at = body.find(mark)
        while at >= 0:
            values -= 1
            if values < 0:
                return True
            at = body.find(mark, at + 1)
    return False


def validated(model: type[Model], members: dict[str, Any]) -> Model:
    """The members as a `model`. Raises Problem with the first fault."""
    try:
        return model.model_validate(members)
    except ValidationError as error:
        raise invalid(str(first_fault(error, omit=UNION_BRANCHES))) from None
