"""Attacks that a clip could try after taking over its decoder.

`attacked` stands for decoding and runs the function that a clip names; the clip is `NAME ARGUMENT`. An attack that the
kernel refuses is reported as an AudioError with the reason `refused`.
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import fcntl
import gc
import mmap
import os
import platform
import resource
import socket
from collections.abc import Callable
from pathlib import Path

from model.audio import AudioError, Limits
from model.native import Integers
from model.windows import Samples
from service.decoding import seccomp
from service.decoding.child import decode
from service.decoding.shape import Shape
from service.decoding.shared_memory import SharedMemory

libc = ctypes.CDLL(None, use_errno=True)
UPROBES = {335, 336} if platform.machine() == "x86_64" else set()
"""The kernel's own trampolines, which no filter sees: any other caller dies of SIGILL."""


def system_call(number: int, *arguments: int) -> int:
    """Make a system call by its number, past Python and the C library. Raises OSError."""
    result: int = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def not_permitted() -> PermissionError:
    """The kernel's EPERM, where Python raises another exception for it."""
    return PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def channel() -> socket.socket:
    """The decoder's channel to the API process."""
    return next(found for found in gc.get_objects() if isinstance(found, socket.socket))


def memories() -> list[SharedMemory]:
    return [found for found in gc.get_objects() if isinstance(found, SharedMemory)]


# Faults


def crash(_: str) -> None:
    ctypes.string_at(0)


def run_out_of_memory(_: str) -> None:
    bytearray(4 << 30)


def compute_for_ever(_: str) -> None:
    while True:
        pass


def wait_for_ever(_: str) -> None:
    channel().recv(1)


def leave(_: str) -> None:
    os._exit(0)


def fail_unexpectedly(_: str) -> None:
    raise RuntimeError("a bug\nin two lines")


def claim_too_much(_: str) -> None:
    channel().send(b'{"samples": 1000000000000000}')


def answer_nonsense(_: str) -> None:
    channel().send(b'[["samples"]]')


def answer_before_it_is_asked(_: str) -> None:
    channel().send(b'{"error": {"reason": "forged", "detail": "", "code": "unsupported_audio"}}')


def say_its_name(_: str) -> None:
    raise AudioError("name", str(os.getpid()))


# Ways out


def read_a_file(path: str) -> None:
    Path(path).read_bytes()


def write_a_file(path: str) -> None:
    Path(path).write_bytes(b"x")


def list_a_folder(path: str) -> None:
    os.listdir(path)  # noqa: PTH208


def look_at_a_file(path: str) -> None:
    Path(path).stat()


def write_to_the_log(_: str) -> None:
    os.write(2, b"forged")


def connect(port: str) -> None:
    socket.socket().connect(("127.0.0.1", int(port)))


def connect_to_a_path(path: str) -> None:
    socket.socket(socket.AF_UNIX).connect(path)


def connect_to_an_abstract_name(name: str) -> None:
    socket.socket(socket.AF_UNIX).connect(f"\0{name}")


def send_descriptors(_: str) -> None:
    socket.send_fds(channel(), [b"x"], [0])


def start_a_program(_: str) -> None:
    os.execv("/bin/true", ["true"])  # noqa: S606


def fork(_: str) -> None:
    if os.fork() == 0:
        os._exit(0)


def start_a_thread(_: str) -> None:
    try:
        _thread.start_new_thread(int, ())
    except RuntimeError:
        raise not_permitted() from None


def kill(process: str) -> None:
    """Signal 0 does no harm, and is checked as any other."""
    os.kill(int(process), 0)


def kill_its_parent(_: str) -> None:
    os.kill(os.getppid(), 0)


def kill_everybody(_: str) -> None:
    os.kill(-1, 0)


def open_a_handle(process: str) -> None:
    os.pidfd_open(int(process))


def read_the_memory_of(process: str) -> None:
    with Path(f"/proc/{process}/mem").open("rb"):
        pass


def limit_another(process: str) -> None:
    resource.prlimit(int(process), resource.RLIMIT_CORE, (0, 0))


def lift_a_limit(_: str) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
    except ValueError:
        raise not_permitted() from None


def cut_off_the_shared_memory(_: str) -> None:
    for memory in memories():
        os.ftruncate(memory.descriptor, 0)


def seal_the_shared_memory(_: str) -> None:
    for memory in memories():
        fcntl.fcntl(memory.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def have_others_signalled(process: str) -> None:
    fcntl.fcntl(channel().fileno(), fcntl.F_SETOWN, int(process))


def map_code(_: str) -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def call_by_the_second_table(_: str) -> None:
    """getpid by the number that it has for x32 programs."""
    system_call(0x40000000 | 39)


def call_everything_else(_: str) -> None:
    """Make every call that is not on the list. Raises OSError if all are refused, else ValueError with the numbers."""
    allowed = {getattr(call, platform.machine()) for call in seccomp.CALLS.values()}
    open_ways = []
    for number in set(range(600)) - allowed - UPROBES:
        try:
            system_call(number, 0, 0, 0, 0, 0, 0)
            open_ways.append(number)
        except OSError as error:
            if error.errno != errno.EPERM:
                open_ways.append(number)
    if open_ways:
        raise ValueError(open_ways)
    raise not_permitted()


ATTACKS: dict[str, Callable[[str], None]] = {
    name: found for name, found in list(vars().items()) if getattr(found, "__module__", None) == __name__
}


def attacked(data: memoryview, shape: Shape, limits: Limits) -> Samples | Integers:
    """A decoder's function."""
    name, _, argument = bytes(data[:4096]).partition(b" ")
    attack = ATTACKS.get(name.decode(errors="replace"))
    if attack is not None:
        try:
            attack(argument.decode())
        except OSError as error:
            raise AudioError("refused", errno.errorcode.get(error.errno or 0, type(error).__name__)) from None
        raise AudioError("succeeded", "the attack was not refused")
    return decode(data, shape, limits)
