"""Runs `anysound` and `python` in forks of one process that has imported torch.

The pages have dozens of commands, and each would take seconds to import it. `python -m tests.docs.preloaded SOCKET` is
that process; `programs` starts it and writes the programs that ask it.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

MESSAGE = 1 << 20
CLIENT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({socket!r})
request = ["{program}", sys.argv[1:], os.getcwd(), dict(os.environ)]
socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
status = server.recv(1)
sys.exit(status[0] if status else 70)
"""
PARSE = "parse"
"""Runs a Python program until it has parsed its arguments."""


@contextmanager
def programs(folder: Path) -> Iterator[Path]:
    """A folder with the programs `anysound`, `python` and `parse`."""
    address = folder / "socket"
    binaries = folder / "bin"
    binaries.mkdir()
    for program in ("anysound", "python", PARSE):
        path = binaries / program
        path.write_text(CLIENT.format(python=sys.executable, socket=str(address), program=program))
        path.chmod(0o755)
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}  # read when torch is loaded
    command = [sys.executable, "-m", "tests.docs.preloaded", str(address)]
    with subprocess.Popen(command, env=environment) as server:
        try:
            end = time.monotonic() + 60
            while not address.exists():
                assert server.poll() is None
                assert time.monotonic() < end
                time.sleep(0.05)
            yield binaries
        finally:
            server.terminate()


def serve(address: str) -> NoReturn:
    import model.engine  # noqa: F401 - what the commands import
    from anysound import main

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"{address}.new")
        listener.listen()
        Path(f"{address}.new").rename(address)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
        while True:
            connection, _ = listener.accept()
            if os.fork():
                connection.close()
                continue
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            status = run(connection, main)
            with suppress(OSError):
                connection.send(bytes([status]))
            os._exit(status)


def run(connection: socket.socket, anysound: Any) -> int:
    """Do what a client asks, in its folder and on its standard streams; returns the exit status."""
    message, descriptors, _, _ = socket.recv_fds(connection, MESSAGE, 3)
    program, arguments, folder, environment = json.loads(message)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # The old streams know whether the server's own are files or pipes.
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
        for number, mode in enumerate(("r", "w", "w"))
    )
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    try:
        if program == "anysound":
            anysound()
        else:
            python(arguments, parse_only=program == PARSE)
        return 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)  # noqa: T201
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()


def python(arguments: list[str], parse_only: bool) -> None:
    """What the interpreter does with these arguments."""
    if parse_only:
        parse = argparse.ArgumentParser.parse_args

        def parsed(self: argparse.ArgumentParser, *given: Any, **named: Any) -> NoReturn:
            parse(self, *given, **named)
            raise SystemExit(0)

        argparse.ArgumentParser.parse_args = parsed  # type: ignore[method-assign]
    first, *rest = arguments or ["-"]
    sys.path[:1] = [str(Path.cwd()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first in ("-c", "-"):
        sys.argv = arguments[: 1 + (first == "-")] or ["-"]
        source = rest[0] if first == "-c" else sys.stdin.read()
        exec(compile(source, first, "exec"), {"__name__": "__main__"})  # noqa: S102
    else:
        sys.argv = arguments
        sys.path[0] = str(Path(first).parent.resolve())
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
