"""The bond between the supervisor and its children: a socket pair whose end tells either side that the other died.

The child also writes a byte now and then, so that the supervisor can tell a process that hangs from one that works.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket

PR_SET_PDEATHSIG = 1


def pair() -> tuple[socket.socket, socket.socket]:
    """The supervisor's end, and the child's, whose descriptor is to be passed on."""
    mine, childs = socket.socketpair()
    mine.setblocking(False)
    return mine, childs


def grasp(descriptor: int) -> socket.socket:
    """The child's end. From now on the kernel kills this process when the one that started it is gone."""
    lifeline = socket.socket(fileno=descriptor)
    lifeline.setblocking(False)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return lifeline


def beat(lifeline: socket.socket) -> None:
    """Say that this process is ready and makes progress."""
    with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
        lifeline.send(b".")


def heard(lifeline: socket.socket) -> bool | None:
    """Whether the child has sent a beat since the last time; None when its end is closed."""
    try:
        return bool(lifeline.recv(4096)) or None
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return None
