"""What a decoder gives up before it sees a clip.

None of it needs a privilege, so it holds in a container as well. The filter of system calls alone confines a decoder
and can be required; namespaces, Landlock and the rest are further lines of defence, used where they are available.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
import resource
import signal
import struct
from pathlib import Path
from typing import Literal

from service.decoding import landlock, seccomp
from service.inspection import forbid_inspection

Mode = Literal["required", "best-effort"]

MEMORY_BYTES = 3 << 30
DESCRIPTORS = 32
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


class SandboxError(RuntimeError):
    """The sandbox cannot be set up on this machine."""

    def __init__(self) -> None:
        super().__init__(
            f"decoders cannot be confined: no seccomp filter on this {platform.machine()} kernel or container; "
            "ANYSOUND_DECODE_SANDBOX=best-effort accepts that"
        )


def check(mode: Mode) -> None:
    """Raises SandboxError where decoders could not be confined as `mode` asks."""
    if mode == "required" and not seccomp.available():
        raise SandboxError


def prepare() -> None:
    """Called by the process that forks decoders: give up what stays given up in its children."""
    # If memory runs out, a decoder goes first: it costs a clip, the API process would cost every request.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # No network but a loopback interface that is down, and no System V memory.
    if libc.unshare(CLONE_NEWNET | CLONE_NEWIPC) != 0:
        libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC)
    forbid_inspection()
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _drop_capabilities()
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
    ):
        resource.setrlimit(limit, (value, value))


def enter(mode: Mode) -> None:
    """Called by a decoder before its first clip. Raises SandboxError."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    landlock.forbid_everything()
    if not seccomp.keep_only_what_decoding_needs() and mode == "required":
        raise SandboxError


def _drop_capabilities() -> None:
    """Drop all capabilities, also those that this process has in its own user namespace."""
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    libc.capset(header, bytes(24))
