"""The API process' side of `service.decoding.child`: starting it, and having it fork decoders."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading

from service.decoding.child import READY
from service.decoding.sandbox import Mode
from service.decoding.shape import Decode

START_S = 60.0
FORK_S = 10.0
ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR")
"""Variables that are passed on. Others may hold secrets."""


class ForkServer:
    """Starts decoders in milliseconds. Thread-safe; its calls block. The process is restarted when it has died."""

    def __init__(self, function: Decode, mode: Mode) -> None:
        self._function = f"{function.__module__}:{function.__qualname__}"
        self._mode = mode
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def fork(self, *descriptors: int) -> tuple[int, int]:
        """A decoder that owns `descriptors`: its process id, and a pidfd that the caller has to close.

        Raises OSError where no process or descriptor is to be had.
        """
        with self._lock:
            try:
                channel = self._channel or self._start()
                socket.send_fds(channel, [b"fork"], list(descriptors))
                message, handles, _, _ = socket.recv_fds(channel, 4096, 1)
            except OSError:
                self._stop()
                raise
            if len(handles) == 1 and message.isdigit():
                return int(message), handles[0]
            if not message:
                self._stop()
                raise OSError("the process that forks decoders ended")
            if message.isdigit():  # the kernel drops a handle for which there is no descriptor
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            raise OSError(f"no decoder could be forked: {message.decode(errors='replace')}")

    def close(self) -> None:
        """Stop it, and with it every decoder."""
        with self._lock:
            self._stop()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                command = [sys.executable, "-m", "service.decoding.child", "--channel", str(theirs.fileno())]
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    [*command, "--function", self._function, "--sandbox", self._mode],
                    pass_fds=(theirs.fileno(),),
                    # numpy's threads would be lost in a fork, and a decoder has one.
                    env={"OPENBLAS_NUM_THREADS": "1", **{k: v for k, v in os.environ.items() if k in ENVIRONMENT}},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            ours.settimeout(START_S)
            if ours.recv(4096) != READY:
                raise OSError("the process that forks decoders did not start")
        except BaseException:
            ours.close()
            raise
        ours.settimeout(FORK_S)
        self._channel = ours
        return ours

    def _stop(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._channel = None
