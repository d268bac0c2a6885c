"""Whatever a clip does to its decoder, it costs that clip and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from service.decoding import pool as pool_module
from service.decoding import shared_memory
from service.decoding.pool import DecodePool, DecodersBusy
from service.decoding.shape import Decoded
from tests.conftest import ROOT
from tests.service.conftest import encoded
from tests.service.decoding.conftest import CLIP, SHAPE, decodes, pool, processes, reason, until
from tests.service.spectral import RATE, tone


async def test_a_clip_becomes_windows() -> None:
    async with pool() as decoding:
        decoded = await decoding.decode(encoded(np.concatenate([tone(200), tone(3_000, 1.5)])), SHAPE)
    assert isinstance(decoded.windows, np.ndarray)
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
        assert await reason(decoding, "run_out_of_memory") == "memory"
        assert processes(decoding) == before
        await decodes(decoding)


@pytest.mark.parametrize("fault", ["crash", "leave", "fail_unexpectedly", "claim_too_much", "answer_nonsense"])
async def test_a_decoder_with_a_fault_costs_its_clip_and_is_replaced(fault: str) -> None:
    async with pool() as decoding:
        before = processes(decoding)
        for _ in range(3):
            assert await reason(decoding, fault) == "decoder"
            await decodes(decoding)
        assert len(processes(decoding)) == 1
        assert not processes(decoding) & before


async def test_why_a_decoder_failed_is_logged_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with pool() as decoding:
        await reason(decoding, "fail_unexpectedly")
    assert r"RuntimeError('a bug\nin two lines')" in caplog.text


async def test_clips_beside_it_are_decoded() -> None:
    async with pool(2) as decoding:
        clips = [CLIP, b"crash", CLIP, b"not a sound", CLIP, b"leave", CLIP]
        outcomes = await asyncio.gather(*(decoding.decode(clip, SHAPE) for clip in clips), return_exceptions=True)
    assert [isinstance(each, Decoded) for each in outcomes] == [True, False, True, False, True, False, True]


async def test_a_decoder_that_dies_between_clips_costs_none() -> None:
    async with pool() as decoding:
        (before,) = processes(decoding)
        os.kill(before, signal.SIGKILL)
        await until(lambda: before not in processes(decoding))
        await decodes(decoding)


async def test_a_decoder_that_computes_for_ever_is_ended_by_the_kernel() -> None:
    async with pool(cpu_s=1) as decoding:
        assert await reason(decoding, "compute_for_ever") == "decoder"
        await decodes(decoding)


async def test_the_limit_of_processor_time_is_each_clips_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "CLIPS_EACH", 1_000_000)
    async with pool(cpu_s=2) as decoding:
        before = processes(decoding)
        end = time.process_time() + 0.5
        while time.process_time() < end:
            await decodes(decoding)
        assert processes(decoding) == before


async def test_a_decoder_that_hangs_is_killed() -> None:
    async with pool(wall_s=0.2) as decoding:
        before = processes(decoding)
        assert await reason(decoding, "wait_for_ever") == "decoder"
        assert not processes(decoding) & before
    async with pool() as decoding:
        await decodes(decoding)


async def test_a_decoder_is_replaced_after_so_many_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "CLIPS_EACH", 3)
    async with pool() as decoding:
        seen: list[int] = []
        for _ in range(7):
            await decodes(decoding)
            seen += processes(decoding)
    assert len(set(seen)) == 3


async def test_an_answer_that_was_not_asked_for_reaches_no_clip() -> None:
    async with pool() as decoding:
        before = processes(decoding)
        assert await reason(decoding, "answer_before_it_is_asked") == "decoder"
        await decodes(decoding)
        assert not processes(decoding) & before


async def test_a_caller_that_goes_away_leaves_the_pool_whole() -> None:
    async with pool() as decoding:
        for _ in range(3):
            asked = asyncio.create_task(decoding.decode(CLIP, SHAPE))
            await asyncio.sleep(0)
            asked.cancel()
        async with asyncio.timeout(20):
            await decodes(decoding)


async def test_a_clip_that_nobody_waits_for_frees_its_decoder() -> None:
    async with pool() as decoding:
        asked = asyncio.create_task(decoding.decode(b"wait_for_ever", SHAPE))
        await until(lambda: bool(decoding._running))
        asked.cancel()
        async with asyncio.timeout(20):
            await decodes(decoding)


async def test_what_a_long_clip_took_of_the_shared_memory_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "KEPT_BYTES", 1 << 16)
    async with pool() as decoding:
        long = await decoding.decode(encoded(tone(200, 29.0)), SHAPE)
        (decoder,) = decoding._decoders
        assert isinstance(long.windows, np.ndarray)
        assert long.windows.nbytes > 1 << 19
        for memory in (decoder._clip, decoder._windows):
            assert os.fstat(memory.descriptor).st_blocks * 512 <= 1 << 16
        await decodes(decoding)


async def test_a_clip_that_failed_leaves_nothing_in_the_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "KEPT_BYTES", 1 << 16)
    async with pool() as decoding:
        assert await reason(decoding, b"not a sound" * 100_000) != "decoder"
        (decoder,) = decoding._decoders
        assert os.fstat(decoder._clip.descriptor).st_blocks * 512 <= 1 << 16


# What cannot be replaced


@contextmanager
def descriptors_used_up() -> Iterator[None]:
    """This process can open nothing."""
    gc.collect()  # what earlier tests left open is not closed meanwhile
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened[0] + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in opened:
            os.close(descriptor)


def health(decoding: DecodePool) -> str:
    return "ready" if decoding.ready else "alive" if decoding.alive else "dead"


async def test_a_decoder_that_cannot_be_replaced_at_first_is_replaced_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pool_module, "SOON_S", 0.05)
    monkeypatch.setattr(pool_module, "EMPTY_S", 0.1)
    async with pool() as decoding:
        assert health(decoding) == "ready"
        await decodes(decoding)  # so that the shared memory is mapped, which takes a descriptor
        with descriptors_used_up():
            assert await reason(decoding, "leave") == "decoder"
            await until(lambda: health(decoding) == "dead")
            for _ in range(40):
                with pytest.raises(DecodersBusy) as busy:
                    await decoding.decode(CLIP, SHAPE)
                assert busy.value.retry_after_s > 0
        await until(lambda: health(decoding) == "ready")
        await decodes(decoding)
    assert "no decoder can be started, trying again" in caplog.text
    assert "Too many open files" in caplog.text


async def test_the_process_that_forks_decoders_is_replaced() -> None:
    async with pool(2) as decoding:
        before = processes(decoding)
        assert decoding._forks._process is not None
        decoding._forks._process.kill()
        await until(lambda: not processes(decoding) & before)  # the kernel ends its decoders
        await until(lambda: len(processes(decoding)) == 2)
        await decodes(decoding)


async def test_as_many_clips_as_may_wait_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "WAITING_CLIPS", 4)
    async with pool() as decoding:
        waiting = [asyncio.create_task(decoding.decode(CLIP, SHAPE)) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(DecodersBusy) as busy:
            await decoding.decode(CLIP, SHAPE)
        assert busy.value.retry_after_s > 0
        assert len(await asyncio.gather(*waiting)) == 5


async def test_an_interactive_clip_does_not_wait_for_a_bulk_one_to_end() -> None:
    async with pool(2) as decoding:
        bulk = [asyncio.create_task(decoding.decode(b"wait_for_ever", SHAPE, bulk=True)) for _ in range(4)]
        await until(lambda: bool(decoding._running))
        async with asyncio.timeout(20):
            await decodes(decoding)
        assert not any(task.done() for task in bulk)
        for task in bulk:
            task.cancel()


def test_decoders_end_with_the_process_that_started_them() -> None:
    """They end when it is killed, too, and while they decode."""
    script = (
        "import asyncio, sys\n"
        "from tests.service.decoding.conftest import SHAPE, pool, processes\n"
        "async def main():\n"
        "    async with pool(2) as decoding:\n"
        "        task = asyncio.create_task(decoding.decode(b'compute_for_ever', SHAPE))\n"
        "        while not decoding._running: await asyncio.sleep(0.01)\n"
        "        print(decoding._forks._process.pid, *processes(decoding), flush=True)\n"
        "        await task\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = [int(each) for each in process.stdout.readline().split()]
        assert len(started) == 3
        process.kill()
    end = time.monotonic() + 30
    while any(Path(f"/proc/{each}/exe").exists() for each in started):
        assert time.monotonic() < end
        time.sleep(0.05)
