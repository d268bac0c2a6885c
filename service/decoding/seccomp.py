"""System calls that a process gives up for ever. It needs no privilege, so it holds in any container."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
"""Instructions of the kernel's packet filter (linux/bpf_common.h)."""
NUMBER, ARCHITECTURE = 0, 4
"""Offsets in struct seccomp_data (linux/seccomp.h)."""
X32 = 0x40000000
"""Of a call by x86-64's second table of numbers, which has to be closed too."""

CALLS = {
    # socket, connect, execve, execveat, ptrace, process_vm_writev, kill, pidfd_send_signal, io_uring_setup
    "x86_64": (0xC000003E, (41, 42, 59, 322, 101, 311, 62, 424, 425)),
    "aarch64": (0xC00000B7, (198, 203, 221, 281, 117, 271, 129, 424, 425)),
}
"""AUDIT_ARCH of a machine, and its numbers of what reaches the network or another process."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def confine() -> bool:
    """From now on this process opens no socket, starts no program and touches no other process: EPERM.

    Pipes and sockets that it has stay open. False where the machine or the kernel does not have it.
    """
    if platform.machine() not in CALLS:
        return False
    architecture, calls = CALLS[platform.machine()]
    code = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, REFUSE), (LOAD, 0, 0, NUMBER)]
    code.append((AT_LEAST, len(calls) + 1, 0, X32))
    code += [(EQUAL, len(calls) - at, 0, call) for at, call in enumerate(calls)]
    code += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    program = _Program(len(code), b"".join(struct.pack("HBBI", *instruction) for instruction in code))
    libc = ctypes.CDLL(None)
    privileges: int = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    filtered: int = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))
    return privileges == filtered == 0
