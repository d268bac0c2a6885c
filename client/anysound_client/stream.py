"""Live audio over `WS /v1/stream`: what to send, and how to read the messages. Needs `anysound-client[stream]`."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from anysound_client.errors import ConnectionFailed, from_code
from anysound_client.labels import Labels, labels_to_json
from anysound_client.results import Event, Window, event_from_json, window_from_json

if TYPE_CHECKING:
    import asyncio

Encoding = Literal["s16le", "f32le"]
Piece = bytes | bytearray | memoryview
END = '{"type": "end"}'
OPEN_S = 10.0


@dataclass(frozen=True)
class Dropped:
    """So many windows were not scored, since the service fell behind."""

    windows: int


StreamMessage = Window | Event | Dropped


@dataclass(frozen=True)
class Opening:
    """Where a stream is opened, and with which headers and first message."""

    url: str
    headers: Mapping[str, str]
    message: str


def opening(
    base_url: str, key: str | None, sample_rate: int, encoding: Encoding, labels: Labels | None, **fields: Any
) -> Opening:
    """Raises ValueError unless exactly one of `labels` and `label_set` is given."""
    if (labels is None) == (fields.get("label_set") is None):
        raise ValueError("give either labels or label_set")
    message = {"sample_rate": sample_rate, "encoding": encoding, **fields}
    if labels is not None:
        message["labels"] = labels_to_json(labels)
    message = {name: value for name, value in message.items() if value is not None}
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return Opening(base_url.rstrip("/").replace("http", "ws", 1) + "/v1/stream", headers, json.dumps(message))


def read(text: str | bytes) -> StreamMessage | None:
    """A message of the service; None for those that carry no result. Raises the ServiceError that ends a stream."""
    message = json.loads(text)
    if "code" in message:
        raise from_code(message["code"], message["detail"], message["status"], message["request_id"])
    if message["type"] == "scores":
        return window_from_json(message)
    if message["type"] == "event":
        return event_from_json(message)
    if message["type"] == "dropped":
        return Dropped(message["windows"])
    return None


def websockets() -> ModuleType:
    """The package websockets. Raises ImportError with what to install."""
    try:
        import websockets.asyncio.client
        import websockets.exceptions
        import websockets.sync.client
    except ImportError as error:
        raise ImportError("streams need `pip install 'anysound-client[stream]'`") from error
    return websockets


@contextmanager
def _failures(package: ModuleType) -> Iterator[None]:
    """Faults of the connection as ConnectionFailed."""
    try:
        yield
    except (OSError, package.exceptions.WebSocketException) as error:
        raise ConnectionFailed(str(error) or type(error).__name__) from error


def stream(start: Opening, pieces: Iterable[Piece]) -> Iterator[StreamMessage]:
    """Send `pieces` from a thread of its own, and yield what the service answers."""
    package = websockets()
    fault: list[BaseException] = []
    with (
        _failures(package),
        package.sync.client.connect(
            start.url, additional_headers=start.headers, compression=None, open_timeout=OPEN_S
        ) as socket,
    ):

        def send() -> None:
            try:
                for piece in pieces:
                    socket.send(piece)
                socket.send(END)
            except package.exceptions.WebSocketException:
                return  # the reader learns why
            except BaseException as error:  # noqa: BLE001 - raised where the stream is read
                fault.append(error)
                socket.close()

        socket.send(start.message)
        read(socket.recv())
        threading.Thread(target=send, daemon=True, name="anysound-stream").start()
        try:
            for text in socket:
                if (message := read(text)) is not None:
                    yield message
        finally:
            if fault:
                raise fault[0]


async def stream_async(start: Opening, pieces: AsyncIterable[Piece]) -> AsyncIterator[StreamMessage]:
    """Send `pieces` in a task of its own, and yield what the service answers."""
    import asyncio

    package = websockets()
    with _failures(package):
        async with package.asyncio.client.connect(
            start.url, additional_headers=start.headers, compression=None, open_timeout=OPEN_S
        ) as socket:

            async def send() -> None:
                try:
                    async for piece in pieces:
                        await socket.send(piece)
                    await socket.send(END)
                except package.exceptions.WebSocketException:
                    return  # the reader learns why
                except Exception:
                    await socket.close()
                    raise

            await socket.send(start.message)
            read(await socket.recv())
            sending: asyncio.Task[None] = asyncio.create_task(send())
            try:
                async for text in socket:
                    if (message := read(text)) is not None:
                        yield message
                if sending.done():
                    sending.result()
            finally:
                sending.cancel()
