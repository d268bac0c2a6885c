"""The sandbox: whatever a clip does to its decoder, it costs that clip and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.audio import AudioError, Limits
from model.windows import Samples
from service.decoding import pool as decode
from service.decoding.pool import Decoded, DecodePool, Shape, _decode
from tests.service.conftest import encoded
from tests.service.spectral import CONFIG, RATE, tone

SHAPE = Shape.of(CONFIG.front_end)
CLIP = encoded(tone(200))
LIMITS = Limits(max_seconds=30)


def crash(_: bytes) -> None:
    ctypes.string_at(0)


def run_out_of_memory(_: bytes) -> None:
    bytearray(4 << 30)


def compute_for_ever(_: bytes) -> None:
    while True:
        pass


def wait_for_ever(_: bytes) -> None:
    time.sleep(3_600)


def leave(_: bytes) -> None:
    os._exit(0)


def dial_out(port: bytes) -> None:
    socket.create_connection(("127.0.0.1", int(port)), 1)


def dial_in(path: bytes) -> None:
    socket.socket(socket.AF_UNIX).connect(path.decode())


def start_a_program(_: bytes) -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def end_its_parent(_: bytes) -> None:
    os.kill(os.getppid(), 9)


def write_a_file(path: bytes) -> None:
    with Path(path.decode()).open("wb") as file:
        file.write(b"x")


def cut_off_the_shared_memory(_: bytes) -> None:
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        with contextlib.suppress(FileNotFoundError):
            if "anysound-clip" in os.readlink(f"/proc/self/fd/{descriptor}"):  # noqa: PTH115
                os.ftruncate(descriptor, 0)


def lie(_: bytes) -> None:
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        with contextlib.suppress(OSError):
            if "socket:" in os.readlink(f"/proc/self/fd/{descriptor}"):  # noqa: PTH115
                os.write(descriptor, b'{"samples": 1000000000000000}')


FAULTS = {
    fault.__name__.encode(): fault
    for fault in (
        *(crash, run_out_of_memory, compute_for_ever, wait_for_ever, leave),
        *(dial_out, dial_in, start_a_program, end_its_parent, write_a_file, cut_off_the_shared_memory, lie),
    )
}


def faulty(data: memoryview, shape: Shape, limits: Limits) -> Samples:
    """Decodes, but for clips that begin with the name of a fault; an error of the kernel's is what is heard of it."""
    name, _, argument = bytes(data).partition(b" ")
    if name in FAULTS:
        try:
            FAULTS[name](argument)
        except OSError as error:
            raise AudioError("refused", type(error).__name__) from None
    return _decode(data, shape, limits)


def pool(processes: int = 1, wall_s: float = 30, cpu_s: int = 20) -> DecodePool:
    return DecodePool(processes, LIMITS, wall_s, cpu_s, decode=faulty)


async def reason(decoding: DecodePool, data: bytes) -> str:
    with pytest.raises(AudioError) as caught:
        await decoding.decode(data, SHAPE)
    return str(caught.value.reason)


def processes(decoding: DecodePool) -> set[int | None]:
    return {decoder.process.pid for decoder in decoding._all}


async def test_a_clip_becomes_windows() -> None:
    async with pool() as decoding:
        decoded = await decoding.decode(encoded(np.concatenate([tone(200), tone(3_000, 1.5)])), SHAPE)
    assert decoded.windows.shape == (3, RATE)
    assert decoded.starts_s == [0, 1, 1.5]
    assert decoded.duration_s == 2.5


async def test_a_clip_that_is_no_audio_costs_no_process() -> None:
    async with pool() as decoding:
        before = processes(decoding)
        assert await reason(decoding, b"not a sound") != "decoder"
        assert processes(decoding) == before


async def test_running_out_of_memory_costs_the_clip_and_no_process() -> None:
    async with pool() as decoding:
        before = processes(decoding)
        assert await reason(decoding, b"run_out_of_memory") == "memory"
        assert processes(decoding) == before
        await decoding.decode(CLIP, SHAPE)


@pytest.mark.parametrize("fault", [b"crash", b"leave"])
async def test_a_decoder_that_dies_costs_its_clip_and_is_replaced(fault: bytes) -> None:
    async with pool() as decoding:
        before = processes(decoding)
        for _ in range(3):
            assert await reason(decoding, fault) == "decoder"
            await decoding.decode(CLIP, SHAPE)
        assert len(processes(decoding)) == 1
        assert not processes(decoding) & before


async def test_clips_beside_it_are_decoded() -> None:
    async with pool(2) as decoding:
        clips = [CLIP, b"crash", CLIP, b"not a sound", CLIP, b"leave", CLIP]
        outcomes = await asyncio.gather(*(decoding.decode(clip, SHAPE) for clip in clips), return_exceptions=True)
    assert [isinstance(each, Decoded) for each in outcomes] == [True, False, True, False, True, False, True]


async def test_a_decoder_that_computes_for_ever_is_ended_by_the_kernel() -> None:
    async with pool(cpu_s=1) as decoding:
        assert await reason(decoding, b"compute_for_ever") == "decoder"
        await decoding.decode(CLIP, SHAPE)


async def test_the_limit_of_processor_time_is_each_clips_own() -> None:
    async with pool(cpu_s=2) as decoding:
        before = processes(decoding)
        end = time.process_time() + 0.5
        while time.process_time() < end:
            await decoding.decode(CLIP, SHAPE)
        assert processes(decoding) == before


async def test_a_decoder_that_hangs_is_killed() -> None:
    async with pool(wall_s=0.2) as decoding:
        before = processes(decoding)
        assert await reason(decoding, b"wait_for_ever") == "decoder"
        assert not processes(decoding) & before
    async with pool() as decoding:
        await decoding.decode(CLIP, SHAPE)


async def test_a_caller_that_goes_away_leaves_the_pool_whole() -> None:
    async with pool() as decoding:
        for _ in range(3):
            asked = asyncio.create_task(decoding.decode(CLIP, SHAPE))
            await asyncio.sleep(0)
            asked.cancel()
        async with asyncio.timeout(20):
            await decoding.decode(CLIP, SHAPE)


# What it may not do


async def refused(fault: Callable[[bytes], None], argument: str = "") -> bool:
    async with pool() as decoding:
        return await reason(decoding, f"{fault.__name__} {argument}".encode()) == "refused"


async def test_it_reaches_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert await refused(dial_out, str(listener.getsockname()[1]))


async def test_it_reaches_no_socket_of_this_machine(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        assert await refused(dial_in, str(tmp_path / "s"))


async def test_it_starts_no_program() -> None:
    assert await refused(start_a_program)


async def test_it_ends_no_other_process() -> None:
    assert await refused(end_its_parent)


async def test_it_cuts_off_no_memory_that_others_map() -> None:
    assert await refused(cut_off_the_shared_memory)


async def test_what_it_says_is_held_against_the_limits() -> None:
    async with pool() as decoding:
        before = processes(decoding)
        assert await reason(decoding, b"lie") == "decoder"
        assert not processes(decoding) & before
        await decoding.decode(CLIP, SHAPE)


async def test_what_a_long_clip_took_of_the_shared_memory_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "KEPT_BYTES", 1 << 16)
    async with pool() as decoding:
        long = await decoding.decode(encoded(tone(200, 29.0)), SHAPE)
        (decoder,) = decoding._all
        assert long.windows.nbytes > 1 << 19
        for memory in (decoder._clip, decoder._windows):
            assert os.fstat(memory.descriptor).st_blocks * 512 <= 1 << 16
        await decoding.decode(CLIP, SHAPE)


async def test_it_writes_no_file(tmp_path: Path) -> None:
    async with pool() as decoding:
        assert await reason(decoding, f"write_a_file {tmp_path / 'f'}".encode()) in ("refused", "decoder")
    assert not (tmp_path / "f").exists() or (tmp_path / "f").stat().st_size == 0
