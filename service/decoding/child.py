"""The process that decoders are forked from, and what a decoder does. `python -m service.decoding.child`.

It has imported everything that decoding needs, so that a decoder takes milliseconds to start and opens no file. It does
not import what the API process has, nor inherit its environment: neither secrets nor requests are there to be read.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, get_args

import av
import numpy as np
import numpy.typing as npt
import soundfile

import model.audio
from model import decoding
from model.audio import AudioError, Limits, load
from model.config import Padding
from model.memory import keep_freed_memory
from model.native import Integers
from model.windows import Samples, cut
from service.decoding import sandbox
from service.decoding.shape import Decode, Shape
from service.decoding.shared_memory import SharedMemory
from service.niceness import yield_to_others

MESSAGE_BYTES = 64 << 10
READY = b"ready"
SPARE_BYTES = 64 << 20
"""Freed memory that a decoder keeps for its next clips."""


def decode(data: memoryview, shape: Shape, limits: Limits) -> Samples | Integers:
    return decoding.decode(data, shape.rate, limits, limits.max_decoded_bytes if shape.native else 0)


def serve(channel: socket.socket, clip: SharedMemory, windows: SharedMemory, function: Decode) -> None:
    """Decode clips until the channel closes. Messages hold sizes and options; audio is in shared memory."""
    while message := channel.recv(MESSAGE_BYTES):
        asked = json.loads(message)
        _allow_cpu(asked["cpu_s"])
        answer: dict[str, Any]
        try:
            shape = Shape(**asked["shape"])
            with clip.map(asked["clip_size"])[: asked["clip"]] as data:
                samples = function(data, shape, Limits(**asked["limits"]))
            if isinstance(samples, Integers):
                written: Samples | npt.NDArray[np.int16] = samples.samples
                answer = {"samples": len(written), "rate": samples.rate}
            else:
                written, _ = cut(samples, shape.window, shape.hop, shape.padding)
                answer = {"samples": len(samples)}
            if written.nbytes > asked["windows_size"]:
                raise MemoryError
            shared = np.frombuffer(windows.map(asked["windows_size"]), written.dtype, written.size)
            shared[:] = written.ravel()
        except AudioError as error:
            answer = {"error": {"reason": error.reason, "detail": error.detail, "code": error.code}}
        except MemoryError:
            answer = {"error": {"reason": "memory", "detail": "The clip needs more memory than a decoder has."}}
        except Exception as error:  # noqa: BLE001 - the process is replaced, and the log says why
            answer = {"fault": repr(error)[:1000]}
        channel.send(json.dumps({"token": asked["token"], **answer}).encode())


def _allow_cpu(seconds: int) -> None:
    """Let this process use `seconds` more of CPU time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _warm_up() -> None:
    """Load every module that decoding may need, and decode with each library once: a decoder can open no file."""
    for package in (av, model.audio):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    silence = np.zeros((64, 2), np.float32)
    files = []
    for kind in ("WAV", "FLAC"):  # libsndfile reads it from its bytes
        files.append(io.BytesIO())
        soundfile.write(files[-1], silence, 8_000, format=kind)
    files.append(io.BytesIO())
    with av.open(files[-1], "w", format="avi") as container:  # FFmpeg reads it
        stream = container.add_stream("pcm_s16le", rate=8_000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 64), np.int16), layout="mono")
        frame.rate = 8_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    for file in files:
        for padding in get_args(Padding):
            cut(load(file.getbuffer(), 16_000), 4_000, 2_000, padding)
    for broken in (b"", b"no audio", b"fLaC"):
        with contextlib.suppress(AudioError):
            load(memoryview(broken), 16_000)


def _become_decoder(descriptors: list[int], function: Decode, mode: sandbox.Mode) -> None:
    """Never returns."""
    try:
        channel, clip, windows = descriptors
        # Through its standard streams it could write to the log.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        os.close(nowhere)
        connection = socket.socket(fileno=channel)
        try:
            sandbox.enter(mode)
        except sandbox.SandboxError as error:
            connection.send(str(error).encode())
            return
        connection.send(READY)
        serve(connection, SharedMemory(clip), SharedMemory(windows), function)
    finally:
        os._exit(1)


def _function(name: str) -> Decode:
    module, _, attribute = name.partition(":")
    found: Decode = getattr(importlib.import_module(module), attribute)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="anysound-decoders", description="Fork decoders when told to on a socket.")
    parser.add_argument("--channel", type=int, required=True, help="descriptor of the socket")
    parser.add_argument("--function", required=True, help="what decodes a clip, as module:function")
    parser.add_argument("--sandbox", choices=get_args(sandbox.Mode), required=True)
    options = parser.parse_args(arguments)
    channel = socket.socket(fileno=options.channel)
    function = _function(options.function)
    keep_freed_memory(SPARE_BYTES)
    yield_to_others()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the kernel reaps decoders that have ended
    _warm_up()
    sandbox.prepare()
    gc.collect()
    gc.freeze()
    channel.send(READY)
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 3)
        if not message:
            return 0  # the API process is gone, and the kernel ends the decoders with this one
        try:
            process = os.fork()
            if process == 0:
                channel.close()
                _become_decoder(descriptors, function, options.sandbox)
            handle = os.pidfd_open(process)
            socket.send_fds(channel, [b"%d" % process], [handle])
            os.close(handle)
        except OSError as error:
            channel.send(str(error).encode())
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
