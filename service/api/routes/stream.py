"""`WS /v1/stream`: live audio."""

from __future__ import annotations

import asyncio
import logging
import time

import msgspec
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from model.audio.pcm import Pcm
from service.api.classify import check_hop, problem_of
from service.api.deadline import Deadline
from service.api.gate import admit
from service.api.label_sets.set_name import SHARED
from service.api.labels import check_activation, resolve, thresholds
from service.api.middleware.exchange import request_id
from service.api.problems import Code, Problem, document, invalid, respond
from service.api.services import Services, services_of
from service.api.stream.opening import read_opening
from service.api.stream.origin import check_origin
from service.api.stream.session import Scoring, Session
from service.decoding.shape import Shape
from service.ipc.embedding import EmbeddingError, Priority
from service.observe.logs import REQUEST_ID
from service.observe.metrics import REJECTED, STREAMS

log = logging.getLogger("anysound.stream")

router = APIRouter(prefix="/v1")

OPENING_S = 10.0
"""Time that a client has for its first message."""
SEND_S = 10.0
"""Time that a client has to read a message, while those before it fill the connection."""
POLICY, INTERNAL = 1008, 1011
"""Close codes (RFC 6455, section 7.4.1) for a fault of the client and of the service."""


class SocketChannel:
    """A WebSocket as a session's channel."""

    def __init__(self, socket: WebSocket, idle_s: float) -> None:
        self._socket = socket
        self._idle_s = idle_s

    async def receive(self) -> bytes | None:
        message = await received(self._socket, self._idle_s)
        if isinstance(message, bytes):
            return message
        try:
            kind = msgspec.json.decode(message)["type"]
        except (msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError):
            kind = None
        if kind != "end":
            raise invalid('after the first message, audio is sent as binary messages, and {"type": "end"} ends it')
        return None

    async def send(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await self._socket.send_text(message.decode())
        except TimeoutError:
            raise WebSocketDisconnect(POLICY, "the client does not read") from None


async def received(socket: WebSocket, seconds: float) -> str | bytes:
    """The next message. Raises Problem if there is none for `seconds`, WebSocketDisconnect."""
    try:
        async with asyncio.timeout(seconds):
            message = await socket.receive()
    except TimeoutError:
        raise invalid(f"the stream was idle for {seconds:g} s") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text: str | None = message.get("text")
    data: bytes = message.get("bytes") or b""
    return data if text is None else text


@router.websocket("/stream")
async def stream(socket: WebSocket) -> None:
    services = await services_of(socket)
    name = request_id(socket.headers)
    REQUEST_ID.set(name)
    try:
        check_origin(socket.headers, services.settings.cors_origins)
    except Problem as problem:
        REJECTED.labels(problem.code.code).inc()
        await socket.send_denial_response(respond(problem, name))
        return
    await socket.accept()
    began, outcome, code = time.monotonic(), "done", 1000
    try:
        await serve(socket, services)
        await socket.close()
    except WebSocketDisconnect as gone:
        outcome, code = "gone", gone.code
    except Problem as problem:
        REJECTED.labels(problem.code.code).inc()
        outcome, code = problem.code.code, POLICY if problem.code.status < 500 else INTERNAL
        await tell(socket, problem, name, code)
    except Exception:
        log.exception("the stream failed")
        outcome, code = Code.INTERNAL.code, INTERNAL
        await tell(socket, Problem(Code.INTERNAL, "The service failed."), name, code)
    finally:
        seconds = round(time.monotonic() - began, 1)
        fields = {"request_id": name, "route": "/v1/stream", "outcome": outcome, "close": code, "seconds": seconds}
        log.info("%s", " ".join(f"{field}={value}" for field, value in fields.items()), extra={"fields": fields})


async def serve(socket: WebSocket, services: Services) -> None:
    """Serve an accepted stream to its end. Raises Problem, WebSocketDisconnect."""
    settings, places = services.settings, services.stream_places
    with places.opening():
        opening = await received(socket, min(OPENING_S, settings.stream_idle_s))
        if isinstance(opening, bytes):
            raise invalid("the first message of a stream is text: JSON with labels, encoding and sample_rate")
        fields, labelled = await asyncio.to_thread(read_opening, opening, settings)
        other_key = b"" if fields.api_key is None else fields.api_key.get_secret_value().encode()
        caller = await admit(socket.headers, services.keys, services.buckets, other_key)
    with places.open(caller):
        STREAMS.inc()
        try:
            deadline = Deadline(time.monotonic() + settings.request_timeout_s, Priority.INTERACTIVE)
            try:
                info = services.embedder.info
            except EmbeddingError as error:
                raise problem_of(error) from error
            check_hop(fields.hop_s, info)
            owner = caller or SHARED
            labels = await resolve(labelled.labels, fields.template, services.label_sets, owner, info.config.prompts)
            check_activation(labels.prompts.labels, fields.activation, fields.none_of_these)
            embedded = await services.classifier.embed_labels(labels, deadline, labelled.examples)
            shape = Shape.of(info.config.front_end)
            hop = shape.hop if fields.hop_s is None else round(fields.hop_s * shape.rate)
            scoring = Scoring(
                [label.name for label in labels.prompts.labels],
                embedded,
                thresholds(labels.prompts.labels, fields.threshold),
                fields,
                info.logit_scale,
                info.fingerprint,
            )
            channel = SocketChannel(socket, settings.stream_idle_s)
            await channel.send(ready(shape, hop))
            pcm = Pcm(fields.encoding, fields.sample_rate, shape.rate)
            await Session(channel, services.embedder, scoring, pcm, shape, hop).run()
            await channel.send(b'{"type":"done"}')
        finally:
            STREAMS.dec()


def ready(shape: Shape, hop: int) -> bytes:
    return msgspec.json.encode({"type": "ready", "window_s": shape.window / shape.rate, "hop_s": hop / shape.rate})


async def tell(socket: WebSocket, problem: Problem, name: str, code: int) -> None:
    """Send a problem and close. A client that has gone, or does not read, is told nothing."""
    try:
        async with asyncio.timeout(SEND_S):
            await socket.send_text(msgspec.json.encode(document(problem, name)).decode())
            await socket.close(code, problem.code.code)
    except (WebSocketDisconnect, RuntimeError, TimeoutError):
        return
