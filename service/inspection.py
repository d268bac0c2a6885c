"""Keeping other processes of the same user out of this one."""

from __future__ import annotations

import ctypes

PR_SET_DUMPABLE = 4


def forbid_inspection() -> None:
    """Close this process to ptrace, /proc/PID/mem and pidfd_getfd of processes that run as the same user.

    It leaves no core dump, and a profiler that attaches (py-spy) needs CAP_SYS_PTRACE from then on. A program that this
    process starts is open again until it calls this itself.
    """
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
