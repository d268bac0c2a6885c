"""The system calls that a decoder keeps. Every other one is refused, and no privilege is needed for that.

https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import platform
import resource
from dataclasses import dataclass

from service.packet_filter import ANY_BIT, RETURN, Instruction, Program

PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
LOAD, EQUAL = 0x20, 0x15
"""Further instructions (linux/bpf_common.h)."""
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data (linux/seccomp.h)."""

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH of each machine (linux/audit.h)."""


@dataclass(frozen=True)
class Argument:
    """A condition on the lower 32 bits of an argument: it equals `value`, or shares no bit with it."""

    index: int
    value: int
    equal: bool = True


@dataclass(frozen=True)
class Call:
    """A system call that is allowed: its number on x86-64 and on ARM64, and conditions on its arguments."""

    x86_64: int
    aarch64: int
    where: tuple[Argument, ...] = ()


ITSELF = Argument(0, 0)
NOT_EXECUTABLE = Argument(2, mmap.PROT_EXEC, equal=False)

CALLS = {
    # The channel to the API process
    "recvfrom": Call(45, 207),
    "sendto": Call(44, 206),
    # Memory: glibc's malloc, numpy, the clip and its windows
    "brk": Call(12, 214),
    "mmap": Call(9, 222, (NOT_EXECUTABLE,)),
    "munmap": Call(11, 215),
    "mremap": Call(25, 216),
    "mprotect": Call(10, 226, (NOT_EXECUTABLE,)),
    "madvise": Call(28, 233),
    # Python's mmap keeps a duplicate of the descriptor.
    "fcntl": Call(72, 25, (Argument(1, fcntl.F_DUPFD_CLOEXEC),)),
    "close": Call(3, 57),
    # CPU time: the limit on each clip
    "prlimit64": Call(302, 261, (ITSELF, Argument(1, resource.RLIMIT_CPU))),
    "getrusage": Call(98, 165),
    # Clocks and random numbers
    "clock_gettime": Call(228, 113),
    "gettimeofday": Call(96, 169),
    "getrandom": Call(318, 278),
    # The C library and the interpreter
    "futex": Call(202, 98),
    "rt_sigaction": Call(13, 134),
    "rt_sigprocmask": Call(14, 135),
    "rt_sigreturn": Call(15, 139),
    "sigaltstack": Call(131, 132),
    "restart_syscall": Call(219, 128),
    "sched_getaffinity": Call(204, 123),
    "sched_yield": Call(24, 124),
    "getpid": Call(39, 172),
    "gettid": Call(186, 178),
    "exit": Call(60, 93),
    "exit_group": Call(231, 94),
}


def _instructions(machine: str) -> list[Instruction]:
    """Raises KeyError for a machine that has no table here."""
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, REFUSE),  # also of a 32-bit program; x32 has numbers above all of these
    ]
    for call in CALLS.values():
        number = call.x86_64 if machine == "x86_64" else call.aarch64
        checks: list[Instruction] = []
        for argument in call.where:
            checks.append((LOAD, 0, 0, ARGUMENTS + 8 * argument.index))
            holds = (1, 0) if argument.equal else (0, 1)
            checks.append((EQUAL if argument.equal else ANY_BIT, *holds, argument.value))
            checks.append((RETURN, 0, 0, REFUSE))
        code.append((LOAD, 0, 0, NUMBER))
        code.append((EQUAL, 0, len(checks) + 1, number))
        code += [*checks, (RETURN, 0, 0, ALLOW)]
    return [*code, (RETURN, 0, 0, REFUSE)]


def available() -> bool:
    """Whether this kernel and machine can filter system calls."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Without a program the kernel answers EFAULT where it has filters, and EINVAL where it has none.
    libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None)
    return platform.machine() in ARCHITECTURES and ctypes.get_errno() == errno.EFAULT


def keep_only_what_decoding_needs() -> bool:
    """Refuse every call that is not in `CALLS` with EPERM, for ever. False where that cannot be done.

    `PR_SET_NO_NEW_PRIVS` has to be set.
    """
    if platform.machine() not in ARCHITECTURES:
        return False
    program = Program.of(_instructions(platform.machine()))
    filtered: int = ctypes.CDLL(None).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))
    return filtered == 0
