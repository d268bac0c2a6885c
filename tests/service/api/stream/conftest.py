"""A service that listens, in this process, and WebSocket clients of it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from service.api.app import create_app
from service.api.connection import bounded
from service.api.server import Server, configuration
from service.api.shutdown import Shutdown
from tests.service.conftest import SETTINGS
from tests.service.spectral import RATE, SpectralEmbedder

Listen = Callable[..., "Service"]
OPENING = {"labels": ["low", "high"], "encoding": "f32le", "sample_rate": RATE}


class Service:
    """A listening service. `open` gives a client whose first message is sent, and the service's answer to it."""

    def __init__(self, server: Server, listener: socket.socket) -> None:
        self.server = server
        self.port: int = listener.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        self._listener = listener
        self._clients = ExitStack()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self.server.live(self._listener, None))

    def connect(self, path: str = "/v1/stream", **options: Any) -> ClientConnection:
        client: ClientConnection = connect(self.url + path, compression=None, **options)
        self._clients.enter_context(client)
        return client

    def open(self, headers: dict[str, str] | None = None, **fields: Any) -> tuple[ClientConnection, dict[str, Any]]:
        client = self.connect(additional_headers=headers)
        client.send(json.dumps({**OPENING, **fields}))
        return client, json.loads(client.recv(timeout=20))

    def stop(self) -> None:
        self._clients.close()
        self.server.should_exit = True
        self._thread.join(20)


@contextmanager
def listening(embedder: SpectralEmbedder, grace_s: float = 5.0, **changes: Any) -> Iterator[Service]:
    """`grace_s` is that of connections (`service.api.connection`)."""
    settings, shutdown = SETTINGS.model_copy(update=changes), Shutdown()
    app = create_app(settings, embedder, shutdown=shutdown)
    listener = socket.create_server(("127.0.0.1", 0))
    config = configuration(app, settings, shutdown)
    vars(config)["http"] = type("Connection", (bounded(settings.request_timeout_s),), {"grace_s": grace_s})
    service = Service(Server(config, shutdown, notice_s=0.1), listener)
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with listening(SpectralEmbedder()) as running:
        yield running


@pytest.fixture
def listen() -> Iterator[Callable[..., Service]]:
    with ExitStack() as stack:

        def start(embedder: SpectralEmbedder | None = None, **changes: Any) -> Service:
            return stack.enter_context(listening(embedder or SpectralEmbedder(), **changes))

        yield start


def messages(client: ClientConnection) -> list[dict[str, Any]]:
    """What the service sends until it closes."""
    return [json.loads(message) for message in client]
