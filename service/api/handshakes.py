"""Ends the arrival of connections at a listening socket, so that its queue can be emptied before it is closed.

Closing resets the connections in the queue. Between the last `accept` and `shutdown` a busy process can be away for
milliseconds, in which more arrive.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

SO_ATTACH_FILTER = 26
FLAGS, SYN = 13, 0x02
"""Offset of the flags in a TCP header, which is where the kernel's filter of a TCP socket begins (RFC 9293)."""
DROP, PASS = 0, 0xFFFFFFFF
PROGRAM = (
    (0x30, 0, 0, FLAGS),  # load the byte
    (0x45, 0, 1, SYN),  # skip one instruction if the bit is not set
    (0x06, 0, 0, DROP),
    (0x06, 0, 0, PASS),
)
"""struct sock_filter (linux/filter.h): code, how many instructions to skip if true and if false, operand."""
SETTLE_S = 0.1
"""A client that has an answer to its SYN needs up to a round trip to complete the handshake."""


def stop(listener: socket.socket) -> None:
    """Drop every new SYN: clients repeat it after a second and are refused. Raises OSError where the kernel cannot."""
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in PROGRAM))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(PROGRAM), ctypes.addressof(code)))
