"""An API process: uvicorn on the supervisor's listening socket. `python -m service.api.server --help`.

On SIGTERM the process drains. First /readyz answers 503, requests are still served, and each answer closes its
connection. Then no new connection is accepted, and the accepted requests are finished.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from model.memory import keep_freed_memory
from service import lifeline
from service.api import handshakes
from service.api.connection import bounded
from service.api.shutdown import CloseConnections, Shutdown
from service.inspection import forbid_inspection
from service.observe import logs
from service.settings import Settings, SettingsError

log = logging.getLogger("anysound.server")

BEAT_S = 0.5
GARBAGE = 10_000
"""Objects made since the last search for unreachable ones: some ten requests' worth. Python's 700 costs a twentieth of
a request's time."""
SPARE_BYTES = 32 << 20
"""Freed memory that the process keeps for the next requests."""
MESSAGE_BYTES = 1 << 20
"""Limit on one message of a stream."""
NOTICE_S = 5.0
"""Time that a load balancer has to notice that this process is not ready; at most half of the drain time."""


class Server(uvicorn.Server):
    """Uvicorn that keeps serving for `notice_s` after SIGTERM. SIGINT stops at once, a second SIGINT drops requests."""

    def __init__(self, config: uvicorn.Config, shutdown: Shutdown, notice_s: float) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self._notice_s = notice_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if sig == signal.SIGTERM and not self._shutdown.draining:
            self._loop.call_soon_threadsafe(self._loop.call_later, self._notice_s, self._stop)
        elif self.should_exit:
            self.force_exit = True
        else:
            self.should_exit = True
        self._shutdown.draining = True

    def _stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections in the kernel's queue, then refuse new ones.

        Otherwise their clients would be reset, or wait in the queue that the supervisor's copy of the socket keeps.
        """
        listeners = [listener.dup() for listener in sockets or []]  # copies: the loop closes its own
        for server in self.servers:
            server.close()
        for listener in listeners:
            with contextlib.suppress(OSError):  # without the kernel's filter, a few clients may be reset
                handshakes.stop(listener)
        await asyncio.sleep(handshakes.SETTLE_S)
        for listener in listeners:
            clients = []
            with contextlib.suppress(OSError):  # until the queue is empty or another API process has taken the rest
                while True:
                    clients.append(listener.accept()[0])
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for client in clients:
                client.setblocking(False)
                await self._loop.connect_accepted_socket(self._connection, client)
        await super().shutdown(sockets)

    def _connection(self) -> asyncio.Protocol:
        protocol: type[Any] = self.config.http_protocol_class
        connection: asyncio.Protocol = protocol(self.config, self.server_state, self.lifespan.state, self._loop)
        return connection

    async def live(self, listener: socket.socket, heartbeat: socket.socket | None) -> None:
        self._loop = asyncio.get_running_loop()
        beating = None if heartbeat is None else self._loop.create_task(beat(heartbeat))
        await self.serve([listener])
        if beating is not None:
            beating.cancel()


async def beat(heartbeat: socket.socket) -> None:
    """Tell the supervisor that the event loop runs; stop when the supervisor has ended."""
    while True:
        if lifeline.heard(heartbeat) is None:
            os._exit(1)
        lifeline.beat(heartbeat)
        await asyncio.sleep(BEAT_S)


def configuration(app: ASGIApp, settings: Settings, shutdown: Shutdown) -> uvicorn.Config:
    """Uvicorn's configuration for the application."""
    return uvicorn.Config(
        CloseConnections(app, shutdown),
        http=bounded(settings.request_timeout_s),
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,  # PCM hardly shrinks, and a small message could expand to any size
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=2048,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=max(1, int(settings.drain_s - notice_s(settings))),
    )


def notice_s(settings: Settings) -> float:
    """How long the process keeps accepting connections after SIGTERM."""
    return min(NOTICE_S, settings.drain_s / 2)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="anysound-api", description="Serve HTTP on a socket that is listening.")
    parser.add_argument("--listener", type=int, required=True, help="descriptor of the listening socket")
    parser.add_argument("--metrics-listener", type=int, help="descriptor of another one, for /metrics alone")
    parser.add_argument("--folder", type=Path, help="directory that the API processes of one service share")
    parser.add_argument("--lifeline", type=int, help="descriptor of the heartbeat socket; the process ends with it")
    parser.add_argument("endpoints", nargs="+", help="ipc:// addresses of the workers")
    options = parser.parse_args(arguments)

    forbid_inspection()
    keep_freed_memory(SPARE_BYTES)
    heartbeat = None if options.lifeline is None else lifeline.attach(options.lifeline)
    from service.api.app import create_app
    from service.ipc.client import WorkerClient

    settings, shutdown = Settings(), Shutdown()
    metrics = None if options.metrics_listener is None else socket.socket(fileno=options.metrics_listener)
    try:
        app = create_app(
            settings, WorkerClient(options.endpoints), shutdown=shutdown, metrics=metrics, folder=options.folder
        )
    except SettingsError as error:
        log.error("%s", error)
        return os.EX_CONFIG
    gc.freeze()  # imported modules stay: collecting garbage among them would hold up the event loop
    gc.set_threshold(GARBAGE, 10, 10)
    config = configuration(app, settings, shutdown)
    server = Server(config, shutdown, notice_s(settings))
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.live(socket.socket(fileno=options.listener), heartbeat))
    return 0


if __name__ == "__main__":
    logs.configure(os.environ.get("ANYSOUND_LOG_FORMAT", "text"))
    sys.exit(main())
