"""The heartbeat socket between the supervisor and a child. When one side dies, the other sees the socket close.

The child also sends a byte at intervals, so that the supervisor can tell a process that hangs from one that works.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket

PR_SET_PDEATHSIG = 1


def pair() -> tuple[socket.socket, socket.socket]:
    """The supervisor's end, and the child's, whose descriptor is to be passed on."""
    ours, childs = socket.socketpair()
    ours.setblocking(False)
    return ours, childs


def attach(descriptor: int) -> socket.socket:
    """The child's end. From now on the kernel kills this process when its parent dies."""
    heartbeat = socket.socket(fileno=descriptor)
    heartbeat.setblocking(False)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return heartbeat


def beat(heartbeat: socket.socket) -> None:
    """Report that this process is ready and makes progress."""
    with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
        heartbeat.send(b".")


def heard(heartbeat: socket.socket) -> bool | None:
    """Whether the other side has sent a beat since the last call; None when its end is closed."""
    try:
        return bool(heartbeat.recv(4096)) or None
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return None
