"""Messages of a ZeroMQ socket, received on the event loop without a task or a future per message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import zmq

READABLE = int(zmq.POLLIN)
AT_ONCE = 64
"""Messages received before the event loop does other work."""


class Inbox:
    """Calls `receive` with the frames of each message that arrives on `socket`, until it is closed.

    The socket's descriptor becomes readable when its state changes, and any call on the socket may consume that signal
    (zmq_getsockopt(3), ZMQ_FD). `check` has to follow each use of the socket, such as a send.
    """

    def __init__(self, socket: zmq.Socket[bytes], receive: Callable[[Sequence[zmq.Frame]], None]) -> None:
        self._socket = socket
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._due: asyncio.Handle | None = None
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self._receive_all)
        self.check()

    def check(self) -> None:
        """Receive soon if there are messages."""
        if self._due is None and int(self._socket.getsockopt(zmq.EVENTS)) & READABLE:
            self._due = self._loop.call_soon(self._receive_all)

    def close(self) -> None:
        """Stop receiving. The socket stays open."""
        self._loop.remove_reader(self._descriptor)
        if self._due is not None:
            self._due.cancel()

    def _receive_all(self) -> None:
        self._due = None
        for _ in range(AT_ONCE):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._receive(frames)
        self.check()
