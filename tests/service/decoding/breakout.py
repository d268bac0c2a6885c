"""Run every attack of a decoder on its surroundings: `python -m tests.service.decoding.breakout`.

Prints the result of each as JSON. `--without unshare` and `--without seccomp` refuse this process, and all that it
starts, namespaces or filters of system calls, as container runtimes and emulators do.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import errno
import io
import json
import os
import platform
import socket
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from model.audio import AudioError, Limits
from service.decoding import seccomp
from service.decoding.pool import DecodePool
from service.decoding.sandbox import PR_SET_NO_NEW_PRIVS, Mode
from service.decoding.shape import Shape
from service.packet_filter import RETURN, Program
from tests.service.decoding.attacks import attacked

SHAPE = Shape(8_000, 8_000, 8_000, "zero")
UNSHARE = {"x86_64": 272, "aarch64": 97}
PRCTL = {"x86_64": 157, "aarch64": 167}
ON_NOTHING = (
    *("call_everything_else", "write_to_the_log", "send_descriptors", "start_a_program", "fork", "start_a_thread"),
    *("kill_its_parent", "kill_everybody", "lift_a_limit", "cut_off_the_shared_memory", "seal_the_shared_memory"),
    *("map_code", "call_by_the_second_table"),
)
ON_PROCESSES = ("kill", "open_a_handle", "read_the_memory_of", "limit_another", "have_others_signalled")
ON_FILES = ("read_a_file", "look_at_a_file", "write_a_file", "list_a_folder")


def sound() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1_000, np.float32), SHAPE.rate, format="WAV")
    return file.getvalue()


def forbid(calls: dict[str, int], first_argument: int | None, error: int) -> None:
    """Refuse one system call, to this process and its children."""
    code = [
        (seccomp.LOAD, 0, 0, seccomp.NUMBER),
        (seccomp.EQUAL, 0, 3 if first_argument is not None else 1, calls[platform.machine()]),
        *([(seccomp.LOAD, 0, 0, seccomp.ARGUMENTS), (seccomp.EQUAL, 0, 1, first_argument)] if first_argument else []),
        (RETURN, 0, 0, 0x00050000 | error),
        (RETURN, 0, 0, seccomp.ALLOW),
    ]
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    program = Program.of(code)
    assert libc.prctl(seccomp.PR_SET_SECCOMP, seccomp.SECCOMP_MODE_FILTER, ctypes.byref(program)) == 0


async def breakout(mode: Mode, seccomp: bool) -> dict[str, str]:
    outcomes: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        path = Path(folder, "file")
        path.write_text("secret")  # noqa: ASYNC240 - nothing else runs
        named.bind(f"{folder}/socket")
        abstract.bind(f"\0{folder}")
        for listener in (named, abstract):
            listener.listen()
        async with DecodePool(2, Limits(max_seconds=30), decode=attacked, mode=mode) as decoding:
            assert decoding._forks._process is not None
            others = {"api": os.getpid(), "fork server": decoding._forks._process.pid}
            others |= {f"decoder {number}": each.process for number, each in enumerate(decoding._decoders)}
            attacks = [each for each in ON_NOTHING if seccomp or each != "call_everything_else"]
            tries = {attack: f"{attack} /" for attack in attacks}
            tries |= {f"{attack}: {name}": f"{attack} {others[name]}" for attack in ON_PROCESSES for name in others}
            tries |= {attack: f"{attack} {folder if attack == 'list_a_folder' else path}" for attack in ON_FILES}
            tries["connect"] = f"connect {server.getsockname()[1]}"
            tries["connect_to_a_path"] = f"connect_to_a_path {folder}/socket"
            tries["connect_to_an_abstract_name"] = f"connect_to_an_abstract_name {folder}"
            for name, attempt in tries.items():
                try:
                    await decoding.decode(attempt.encode(), SHAPE)
                    outcomes[name] = "was decoded"
                except AudioError as error:
                    outcomes[name] = f"{error.reason} {error.detail}"
            await decoding.decode(sound(), SHAPE)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--without", choices=("unshare", "seccomp"))
    parser.add_argument("--sandbox", choices=("required", "best-effort"), default="required")
    options = parser.parse_args()
    if options.without == "unshare":
        forbid(UNSHARE, None, errno.EPERM)
    if options.without == "seccomp":
        forbid(PRCTL, seccomp.PR_SET_SECCOMP, errno.EINVAL)
    json.dump(asyncio.run(breakout(options.sandbox, options.without != "seccomp")), sys.stdout)


if __name__ == "__main__":
    main()
