"""Landlock: a process gives up files, TCP ports, and signals and sockets outside, without any privilege.

https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import struct

CREATE_RULESET, RESTRICT_SELF = 444, 446
"""System call numbers, the same on every architecture."""
CREATE_RULESET_VERSION = 1
FILES = {1: 13, 2: 14, 3: 15, 5: 16}
"""Number of file access rights, by the version of the interface that added the last of them."""
BIND_AND_CONNECT_TCP = 0b11
ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


libc = ctypes.CDLL(None)


def version() -> int:
    """Version of Landlock's interface in this kernel; less than 1 where there is none."""
    found: int = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), CREATE_RULESET_VERSION)
    return found


def forbid_everything() -> None:
    """Deny all that this kernel's Landlock can deny, if it has any.

    `PR_SET_NO_NEW_PRIVS` has to be set. Files that are open stay usable.
    """
    if (known := version()) < 1:
        return
    rights = max(count for since, count in FILES.items() if since <= known)
    handled = struct.pack("Q", (1 << rights) - 1)
    if known >= 4:
        handled += struct.pack("Q", BIND_AND_CONNECT_TCP)
    if known >= 6:
        handled += struct.pack("Q", ABSTRACT_SOCKETS_AND_SIGNALS)
    ruleset: int = libc.syscall(CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    if ruleset >= 0:
        libc.syscall(RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)
