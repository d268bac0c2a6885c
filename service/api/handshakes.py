"""Ends the arrival of connections at a listening socket, so that its queue can be emptied before it is closed.

Closing resets the connections in the queue. Between the last `accept` and `shutdown` a busy process can be away for
milliseconds, in which more arrive.
"""

from __future__ import annotations

import socket
import sys

from service.packet_filter import ANY_BIT, RETURN, Program

SO_ATTACH_FILTER = 26
LOAD_BYTE = 0x30
FLAGS, SYN = 13, 0x02
"""Offset of the flags in a TCP header, which is where the kernel's filter of a TCP socket begins (RFC 9293)."""
DROP, PASS = 0, 0xFFFFFFFF
PROGRAM = ((LOAD_BYTE, 0, 0, FLAGS), (ANY_BIT, 0, 1, SYN), (RETURN, 0, 0, DROP), (RETURN, 0, 0, PASS))
SETTLE_S = 0.1
"""A client that has an answer to its SYN needs up to a round trip to complete the handshake."""


def stop(listener: socket.socket) -> None:
    """Drop every new SYN: clients repeat it after a second and are refused. Raises OSError where the kernel cannot."""
    if sys.platform != "linux":
        return
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, Program.of(PROGRAM))
