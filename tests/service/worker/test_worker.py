"""A worker and its clients over real sockets: with a fake model in a thread, and with a real one in its process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from service.ipc.client import WorkerClient
from service.ipc.embedding import (
    DeadlineExceeded,
    Overloaded,
    Priority,
    RejectedItem,
    WorkerUnavailable,
)
from service.ipc.transport import Audio, Failed, Text, array_buffer, decode, encode
from service.supervise.processes import Child, Supervisor, module
from service.worker.compute import kinds_of_threads
from service.worker.requests import Kind
from tests.service.fakes import BAD, NOT_FINITE, SAMPLES, FakeModel, serving, soon, until, windows


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def endpoint(model: FakeModel, tmp_path: Path) -> Iterator[str]:
    """The endpoint of a worker that serves the fake model."""
    address = f"ipc://{tmp_path}/worker"
    with serving(model, address, stats_file=tmp_path / "stats.json"):
        yield address


@pytest.fixture
async def client(endpoint: str) -> AsyncIterator[WorkerClient]:
    async with WorkerClient([endpoint]) as client:
        await until(lambda: client.ready)
        yield client


class TestEmbedding:
    async def test_windows_come_back_as_embeddings_in_order(self, client: WorkerClient) -> None:
        embedded = await client.embed_audio(windows(*range(20)), deadline=soon())
        assert embedded.vectors.tolist() == [[n, SAMPLES] for n in range(20)]
        assert embedded.vectors.dtype == np.float32
        assert embedded.queue_s >= 0
        assert embedded.compute_s > 0

    async def test_prompts_come_back_as_embeddings_in_order(self, client: WorkerClient) -> None:
        embedded = await client.embed_text(["dog", "Regen fällt", "雨"], deadline=soon())
        assert embedded.vectors[:, 0].tolist() == [3, 11, 1]
        assert (await client.embed_text([], deadline=soon())).vectors.shape == (0, 2)

    async def test_the_client_knows_what_is_served(self, client: WorkerClient, model: FakeModel) -> None:
        assert client.info == model.info
        assert client.alive

    async def test_windows_of_a_wrong_length_are_the_callers_error(self, client: WorkerClient) -> None:
        with pytest.raises(ValueError, match="windows must be"):
            await client.embed_audio(np.zeros((1, 7), np.float32), deadline=soon())

    async def test_requests_of_several_processes_share_a_batch(
        self, client: WorkerClient, endpoint: str, model: FakeModel
    ) -> None:
        async with WorkerClient([endpoint]) as other:
            await until(lambda: other.ready)
            model.gate.clear()
            first = asyncio.create_task(client.embed_audio(windows(0), deadline=soon()))
            await until(lambda: model.batches)
            rest = [
                asyncio.create_task(each.embed_audio(windows(n), deadline=soon()))
                for n, each in enumerate([client, other, client, other], 1)
            ]
            await asyncio.sleep(0.05)
            model.gate.set()
            for n, task in enumerate([first, *rest]):
                assert (await task).vectors[0, 0] == n
        assert [sorted(batch) for batch in model.batches] == [[0], [1, 2, 3, 4]]

    async def test_counters_reach_every_client(self, client: WorkerClient) -> None:
        await client.embed_audio(windows(1, 2, 3), deadline=soon())
        await until(lambda: client.stats.audio_seconds)
        assert client.stats.audio_seconds == 3
        assert client.stats.batch_size["audio"].sum == 3


class TestFaults:
    async def test_a_clip_that_crashes_the_forward_fails_alone(self, client: WorkerClient, model: FakeModel) -> None:
        model.gate.clear()
        blocker = asyncio.create_task(client.embed_audio(windows(0), deadline=soon()))
        await until(lambda: model.batches)
        good = [asyncio.create_task(client.embed_audio(windows(n), deadline=soon())) for n in (1, 2, 3)]
        bad = asyncio.create_task(client.embed_audio(windows(4, BAD), deadline=soon()))
        await asyncio.sleep(0.05)
        model.gate.set()
        with pytest.raises(RejectedItem):
            await bad
        assert [(await task).vectors[0, 0] for task in (blocker, *good)] == [0, 1, 2, 3]

    async def test_an_embedding_that_is_not_finite_is_rejected(self, client: WorkerClient) -> None:
        with pytest.raises(RejectedItem):
            await client.embed_audio(windows(NOT_FINITE), deadline=soon())

    async def test_out_of_memory_makes_smaller_batches(self, client: WorkerClient, model: FakeModel) -> None:
        model.room = 3
        embedded = await client.embed_audio(windows(*range(8)), deadline=soon())
        assert embedded.vectors[:, 0].tolist() == list(range(8))
        model.batches.clear()
        await client.embed_audio(windows(*range(8)), deadline=soon())
        assert max(map(len, model.batches)) <= 3, "the worker has learnt"

    async def test_a_cancelled_request_never_reaches_the_model(self, client: WorkerClient, model: FakeModel) -> None:
        model.gate.clear()
        first = asyncio.create_task(client.embed_audio(windows(1), deadline=soon()))
        await until(lambda: model.batches)
        cancelled = asyncio.create_task(client.embed_audio(windows(66), deadline=soon()))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        await asyncio.sleep(0.05)
        model.gate.set()
        await first
        await client.embed_audio(windows(2), deadline=soon())
        assert model.batches == [[1], [2]]
        await until(lambda: client.stats.cancelled == 1)

    async def test_cancelled_prompts_never_reach_the_model(self, client: WorkerClient, model: FakeModel) -> None:
        model.text_gate.clear()
        first = asyncio.create_task(client.embed_text(["x"], deadline=soon()))
        await until(lambda: model.batches)
        cancelled = asyncio.create_task(client.embed_text(["x" * 9] * 1_000, deadline=soon()))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await until(lambda: client.stats.cancelled)
        model.text_gate.set()
        await first
        await client.embed_text(["xx"], deadline=soon())
        assert model.batches == [[1], [2]]

    async def test_the_work_of_a_client_that_is_gone_is_dropped(
        self, client: WorkerClient, endpoint: str, model: FakeModel
    ) -> None:
        model.gate.clear()
        first = asyncio.create_task(client.embed_audio(windows(1), deadline=soon(30)))
        await until(lambda: model.batches)
        with zmq.Context() as context, context.socket(zmq.DEALER) as killed:
            killed.linger = 0
            killed.connect(endpoint)
            message = Audio(1, 1, "interactive", soon(1_000), 1)
            killed.send_multipart(encode(message, array_buffer(windows(66))))
            await until(lambda: client.stats.queue_seconds == 1)
        await until(lambda: client.stats.cancelled == 1)
        model.gate.set()
        await first
        assert model.batches == [[1]]

    async def test_a_message_that_cannot_be_used_is_answered(self, endpoint: str) -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as wrong:
            wrong.linger = 0
            wrong.connect(endpoint)
            for number, rows in ((1, 1), (2, 0)):
                wrong.send_multipart(encode(Audio(number, rows, "interactive", soon(), number), bytes(12)))
            wrong.send_multipart(encode(Text(3, 1, "urgent", soon(), 3), b'["dog"]'))
            answers: list[tuple[int, str]] = []
            while len(answers) < 3:
                assert await asyncio.to_thread(wrong.poll, 5_000)
                message, _ = decode(wrong.recv_multipart(copy=False))
                if isinstance(message, Failed):
                    answers.append((message.id, message.error))
        assert answers == [(number, "rejected_item") for number in (1, 2, 3)]

    async def test_counters_that_cannot_be_saved_cost_one_line(
        self, model: FakeModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        address, folder = f"ipc://{tmp_path}/w", tmp_path / "gone"
        with serving(model, address, stats_file=folder / "stats.json"):
            async with WorkerClient([address]) as client:
                await until(lambda: client.ready)
                beats = client.stats
                for _ in range(3):
                    await until(lambda: client.stats is not beats)  # noqa: B023 - called before it changes
                    beats = client.stats
                lines = [record for record in caplog.records if "cannot save the counters" in record.message]
                assert len(lines) == 1
                folder.mkdir()
                await until((folder / "stats.json").exists)
                await client.embed_audio(windows(1), deadline=soon())

    async def test_a_deadline_passes_while_the_model_is_busy(self, client: WorkerClient, model: FakeModel) -> None:
        model.gate.clear()
        first = asyncio.create_task(client.embed_audio(windows(1), deadline=soon()))
        await until(lambda: model.batches)
        with pytest.raises(DeadlineExceeded):
            await client.embed_audio(windows(2), deadline=soon(0.1))
        model.gate.set()
        await first
        await client.embed_audio(windows(3), deadline=soon())
        assert model.batches == [[1], [3]]

    async def test_a_deadline_that_has_passed(self, client: WorkerClient, model: FakeModel) -> None:
        with pytest.raises((DeadlineExceeded, Overloaded)):
            await client.embed_audio(windows(2), deadline=soon(-1))
        assert not model.batches


class TestAdmission:
    async def test_a_full_queue_refuses_at_once(self, client: WorkerClient, model: FakeModel) -> None:
        model.gate.clear()
        first = asyncio.create_task(client.embed_audio(windows(1), deadline=soon()))
        await until(lambda: model.batches)
        rest = asyncio.create_task(client.embed_audio(windows(*range(40)), deadline=soon()))
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded) as refused:
            await client.embed_audio(windows(2), deadline=soon())
        assert refused.value.retry_after_s >= 0
        await until(lambda: client.stats.queue_seconds == 40)
        model.gate.set()
        await asyncio.gather(first, rest)

    async def test_a_reservation_keeps_room_until_it_is_left(self, client: WorkerClient) -> None:
        async with client.reserve(38, deadline=soon()) as room:
            with pytest.raises(Overloaded):
                await client.embed_audio(windows(1, 2, 3), deadline=soon())
            await client.embed_audio(windows(1, 2, 3), deadline=soon(), reservation=room)
        await asyncio.sleep(0.05)
        await client.embed_audio(windows(*range(40)), deadline=soon())

    async def test_a_reservation_that_does_not_fit_is_refused(self, client: WorkerClient) -> None:
        async with client.reserve(30, deadline=soon(), priority=Priority.INTERACTIVE):
            with pytest.raises(Overloaded):
                async with client.reserve(11, deadline=soon()):
                    pass

    async def test_what_a_worker_refuses_is_remembered(self, client: WorkerClient) -> None:
        client.check(deadline=soon())
        async with client.reserve(40, deadline=soon()):
            with pytest.raises(Overloaded):
                async with client.reserve(1, deadline=soon()):
                    pass
        assert client._admission.refusals.keys() == {Priority.INTERACTIVE}

    @pytest.mark.parametrize(("number", "remembered"), [(1, True), (2, False)])
    async def test_so_is_the_refusal_of_a_window_that_reserved_nothing(
        self, client: WorkerClient, number: int, remembered: bool
    ) -> None:
        async with client.reserve(40, deadline=soon()):
            with pytest.raises(Overloaded):
                await client.embed_audio(windows(*range(number)), deadline=soon())
        assert (Priority.INTERACTIVE in client._admission.refusals) == remembered

    async def test_more_than_the_queue_holds_is_served_by_an_idle_worker(self, client: WorkerClient) -> None:
        async with client.reserve(2, deadline=soon()) as room:
            clips = [client.embed_audio(windows(*range(50)), deadline=soon(), reservation=room) for _ in range(2)]
            for embedded in await asyncio.gather(*clips):
                assert embedded.vectors[:, 0].tolist() == list(range(50))


class TestComputeThreads:
    """On a CPU."""

    @pytest.fixture
    async def on_cpu(self, model: FakeModel, tmp_path: Path) -> AsyncIterator[WorkerClient]:
        address = f"ipc://{tmp_path}/cpu"
        with serving(model, address, threads=kinds_of_threads(2, "cpu")):
            async with WorkerClient([address]) as client:
                await until(lambda: client.ready)
                yield client

    async def test_prompts_do_not_wait_for_audio(self, on_cpu: WorkerClient, model: FakeModel) -> None:
        model.gate.clear()
        audio = asyncio.create_task(on_cpu.embed_audio(windows(*range(30)), deadline=soon(30)))
        await until(lambda: len(model.batches) == 2)
        assert (await on_cpu.embed_text(["dog"], deadline=soon())).vectors[0, 0] == 3
        model.gate.set()
        await audio

    async def test_audio_does_not_wait_for_prompts(self, on_cpu: WorkerClient, model: FakeModel) -> None:
        model.text_gate.clear()
        text = asyncio.create_task(on_cpu.embed_text(["x"] * 1_000, deadline=soon(30)))
        await until(lambda: len(model.batches) == 2)
        assert (await on_cpu.embed_audio(windows(7), deadline=soon())).vectors[0, 0] == 7
        model.text_gate.set()
        await text

    def test_a_gpu_has_two_threads_that_run_either(self) -> None:
        assert kinds_of_threads(2, "cuda") == [tuple(Kind)] * 2


class TestAbsence:
    async def test_without_a_worker_nothing_is_ready_and_nothing_hangs(self, tmp_path: Path) -> None:
        async with WorkerClient([f"ipc://{tmp_path}/nobody"]) as client:
            assert not client.ready
            assert client.alive
            with pytest.raises(WorkerUnavailable):
                client.check(deadline=soon())
            with pytest.raises(WorkerUnavailable):
                _ = client.info
            with pytest.raises(WorkerUnavailable):
                await client.embed_text(["dog"], deadline=soon())

    async def test_closing_the_client_ends_its_pending_work(self, endpoint: str, model: FakeModel) -> None:
        model.gate.clear()
        async with WorkerClient([endpoint]) as client:
            await until(lambda: client.ready)
            pending = asyncio.create_task(client.embed_audio(windows(1), deadline=soon(60)))
            await until(lambda: model.batches)
        with pytest.raises(WorkerUnavailable):
            await pending

    async def test_the_least_loaded_worker_gets_the_work(self, endpoint: str, model: FakeModel, tmp_path: Path) -> None:
        other_model = FakeModel()
        other = f"ipc://{tmp_path}/other"
        with serving(other_model, other):
            async with WorkerClient([endpoint, other]) as client:
                await until(lambda: len([link for link in client._links if link.ready]) == 2)
                model.gate.clear()
                other_model.gate.clear()
                tasks = [asyncio.create_task(client.embed_audio(windows(n), deadline=soon())) for n in range(6)]
                await asyncio.sleep(0.1)
                model.gate.set()
                other_model.gate.set()
                await asyncio.gather(*tasks)
        assert sum(map(len, model.batches)) == sum(map(len, other_model.batches)) == 3


@pytest.fixture
async def supervised(tiny_folder: Path, tmp_path: Path) -> AsyncIterator[tuple[Child, str]]:
    """The real worker process under a supervisor; the child and its endpoint."""
    endpoint = f"ipc://{tmp_path}/worker"

    def command(restarts: int) -> list[str]:
        arguments = ("--model", str(tiny_folder), "--endpoint", endpoint, "--restarts", str(restarts))
        return module("service.worker", *arguments, "--stats-file", str(tmp_path / "stats.json"))

    worker = Child("worker", command)
    supervisor = Supervisor([worker], [], drain_s=1)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    yield worker, endpoint
    supervisor.stop()
    await asyncio.to_thread(thread.join)


async def test_a_killed_worker_takes_no_request_with_it_into_silence(supervised: tuple[Child, str]) -> None:
    """kill -9 under work: what was pending fails at once, the worker is restarted, and work is done again."""
    worker, endpoint = supervised
    async with WorkerClient([endpoint]) as client:
        await until(lambda: client.ready, 120)
        front_end = client.info.config.front_end
        noise = np.random.default_rng(0).normal(size=(1, front_end.window_samples)).astype(np.float32)
        alone = await client.embed_audio(noise, deadline=soon())
        together = await client.embed_audio(np.repeat(noise, 64, axis=0), deadline=soon(20))
        assert np.abs(together.vectors - alone.vectors).max() < 1e-5
        await until(lambda: client.stats.audio_seconds >= 65)

        work = [asyncio.create_task(client.embed_audio(np.repeat(noise, 32, 0), deadline=soon(60))) for _ in range(12)]
        await asyncio.sleep(0.02)
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGKILL)
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        assert any(isinstance(outcome, WorkerUnavailable) for outcome in outcomes)
        assert not client.ready
        assert client.alive, "a worker that is being restarted is no reason to kill the API process"
        with pytest.raises(WorkerUnavailable) as refused:
            await client.embed_audio(noise, deadline=soon())
        assert refused.value.retry_after_s > 0

        await until(lambda: client.ready, 120)
        again = await client.embed_audio(noise, deadline=soon())
        assert np.abs(again.vectors - alone.vectors).max() < 1e-5
        await until(lambda: client.stats.restarts == 1)
        assert client.stats.audio_seconds >= 65, "counters outlive the worker"


async def test_a_worker_ends_with_its_supervisor(tiny_folder: Path, tmp_path: Path) -> None:
    mine, its = socket.socketpair()
    process = await asyncio.create_subprocess_exec(
        *module("service.worker", "--model", str(tiny_folder), "--endpoint", f"ipc://{tmp_path}/worker"),
        *("--lifeline", str(its.fileno())),
        pass_fds=(its.fileno(),),
    )
    its.close()
    mine.setblocking(False)
    async with asyncio.timeout(60):
        await asyncio.get_running_loop().sock_recv(mine, 1)
    mine.close()
    async with asyncio.timeout(5):
        assert await process.wait() == 0


async def test_a_broken_checkpoint_is_no_reason_to_try_again(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    worker = Child(
        "worker",
        lambda _: module("service.worker", "--model", str(tmp_path), "--endpoint", f"ipc://{tmp_path}/w"),
    )
    assert await asyncio.to_thread(Supervisor([worker], [], drain_s=1).run) == 1
    assert worker.restarts == 0


async def test_a_child_that_crashes_is_restarted_ever_later(tmp_path: Path) -> None:
    child = Child("crash", lambda _: [sys.executable, "-c", "raise SystemExit(3)"])
    supervisor = Supervisor([child], [], drain_s=1)
    running = asyncio.create_task(asyncio.to_thread(supervisor.run))
    await until(lambda: child.restarts >= 3)
    assert child.backoff_s > 0.3
    supervisor.stop()
    assert await running == 0
