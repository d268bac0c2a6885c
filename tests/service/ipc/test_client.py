"""An API process' client: no answer is lost, whatever the number of requests, and workers that differ are not mixed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from model.config import FrontEndConfig
from model.native import Recording
from model.windows import window_starts
from service.ipc import client as clients
from service.ipc import link
from service.ipc.client import WorkerClient, parts_of, parts_of_recording
from service.ipc.embedding import (
    DeadlineExceeded,
    Embedded,
    EmbeddingError,
    ModelReplaced,
    Overloaded,
    RejectedItem,
    WorkerUnavailable,
)
from service.ipc.transport import PART_BYTES
from tests.service.fakes import BAD, SAMPLES, FakeModel, serving, soon, until, windows

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def endpoint(model: FakeModel, tmp_path: Path) -> Iterator[str]:
    address = f"ipc://{tmp_path}/worker"
    with serving(model, address):
        yield address


@pytest.fixture
async def client(endpoint: str) -> AsyncIterator[WorkerClient]:
    async with WorkerClient([endpoint]) as client:
        await until(lambda: client.ready)
        yield client


class TestManyRequests:
    async def test_three_thousand_at_once_are_all_answered(self, client: WorkerClient) -> None:
        prompts = [f"{'x' * (number % 50)}" for number in range(3_000)]
        answers = await asyncio.gather(*(client.embed_text([prompt], deadline=soon(60)) for prompt in prompts))
        assert [answer.vectors[0, 0] for answer in answers] == [len(prompt) for prompt in prompts]

    async def test_three_thousand_reservations_at_once_are_all_answered(self, client: WorkerClient) -> None:
        async def reserve() -> str:
            try:
                async with client.reserve(1, deadline=soon(60)):
                    await done.wait()
                    return "reserved"
            except Overloaded:
                refused.append(1)
                if len(refused) == 3_000 - 40:
                    done.set()
                return "refused"

        done, refused = asyncio.Event(), list[int]()
        answers = Counter(await asyncio.gather(*(reserve() for _ in range(3_000))))
        assert answers == {"reserved": 40, "refused": 2_960}, "the queue has room for 40 s"

    async def test_a_client_whose_loop_is_busy_gets_every_answer(self, client: WorkerClient, model: FakeModel) -> None:
        model.text_gate.clear()
        end = soon(86_400)  # the closed gate makes the worker expect slow batches; none is to be refused for it
        tasks = [asyncio.create_task(client.embed_text([f"{n}"], deadline=end)) for n in range(3_000)]
        await asyncio.sleep(0)
        model.text_gate.set()
        time.sleep(0.3)  # noqa: ASYNC251 - the loop is to be busy
        answers = await asyncio.gather(*tasks)
        assert [answer.vectors[0, 0] for answer in answers] == [len(f"{n}") for n in range(3_000)]

    async def test_more_than_may_be_pending_are_refused_at_once(
        self, client: WorkerClient, model: FakeModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(link, "MAX_PENDING", 5)
        model.text_gate.clear()
        tasks = [asyncio.create_task(client.embed_text(["dog"], deadline=soon())) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="5 requests wait"):
            await client.embed_text(["dog"], deadline=soon())
        model.text_gate.set()
        await asyncio.gather(*tasks)
        await client.embed_text(["dog"], deadline=soon())

    async def test_a_deadline_that_has_passed_is_not_sent(self, client: WorkerClient, model: FakeModel) -> None:
        with pytest.raises(DeadlineExceeded):
            await client.embed_text(["dog"], deadline=soon(-1))
        assert not model.batches


class TestParts:
    async def test_a_long_clip_goes_in_parts(self, client: WorkerClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clients, "PART_BYTES", 4 * SAMPLES * 3)
        embedded = await client.embed_audio(windows(*range(10)), deadline=soon())
        assert embedded.vectors[:, 0].tolist() == list(range(10))

    async def test_one_bad_window_fails_the_whole_clip(
        self, client: WorkerClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clients, "PART_BYTES", 4 * SAMPLES)
        with pytest.raises(RejectedItem):
            await client.embed_audio(windows(*range(20), BAD, *range(20)), deadline=soon())

    async def test_all_parts_are_cancelled_together(
        self, client: WorkerClient, model: FakeModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clients, "PART_BYTES", 4 * SAMPLES)
        model.gate.clear()
        first = asyncio.create_task(client.embed_audio(windows(0), deadline=soon()))
        await until(lambda: model.batches)
        clip = asyncio.create_task(client.embed_audio(windows(*range(30)), deadline=soon()))
        await until(lambda: client.stats.queue_seconds == 30)
        clip.cancel()
        await until(lambda: client.stats.cancelled == 30)
        model.gate.set()
        await first
        assert model.batches == [[0]]

    async def test_many_prompts_go_in_parts(self, client: WorkerClient) -> None:
        prompts = ["x" * (number % 90) for number in range(1_000)]
        embedded = await client.embed_text(prompts, deadline=soon(20))
        assert embedded.vectors[:, 0].tolist() == [len(prompt) for prompt in prompts]

    def test_a_part_is_bounded_in_prompts_and_in_characters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clients, "PART_PROMPTS", 3)
        monkeypatch.setattr(clients, "PART_CHARACTERS", 10)
        assert list(parts_of(["aa"] * 4)) == [["aa"] * 3, ["aa"]]
        assert list(parts_of(["aaaaaa", "bbbbbb"])) == [["aaaaaa"], ["bbbbbb"]]
        with pytest.raises(RejectedItem, match="11 characters"):
            list(parts_of(["a" * 11]))

    async def test_text_of_any_kind_survives(self, client: WorkerClient) -> None:
        prompts = ["犬の鳴き声", "🐕" * 10, 'a "quoted" \\ one', "\ud800"]
        embedded = await client.embed_text(prompts, deadline=soon())
        assert embedded.vectors[:, 0].tolist() == [len(prompt) for prompt in prompts]


class TestReplacedWeights:
    """Two workers, of which the second was restarted after the weights had been replaced."""

    @pytest.fixture
    def old(self) -> FakeModel:
        return FakeModel(fingerprint=OLD)

    @pytest.fixture
    def new(self) -> FakeModel:
        return FakeModel(fingerprint=NEW)

    @pytest.fixture
    def workers(self, old: FakeModel, new: FakeModel, tmp_path: Path) -> Iterator[tuple[ExitStack, list[str]]]:
        """Closing the stack stops the worker with the old weights."""
        first, second = f"ipc://{tmp_path}/0", f"ipc://{tmp_path}/1"
        with ExitStack() as stack:
            stack.enter_context(serving(old, first))
            time.sleep(0.01)
            with serving(new, second):
                yield stack, [second, first]

    async def test_the_odd_worker_is_not_used(
        self,
        workers: tuple[ExitStack, list[str]],
        old: FakeModel,
        new: FakeModel,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async with WorkerClient(workers[1]) as client:
            await until(lambda: client.odd_workers == 1)
            assert client.info.fingerprint == OLD
            old.gate.clear()
            tasks = [asyncio.create_task(client.embed_audio(windows(n), deadline=soon())) for n in range(6)]
            await until(lambda: old.batches)
            old.gate.set()
            await asyncio.gather(*tasks)
            assert not new.batches
            await asyncio.sleep(1)  # heartbeats do not repeat the line
        [line] = [record for record in caplog.records if record.name == "anysound.ipc"]
        assert "worker 0 serves bbbbbbbbbbbb and not aaaaaaaaaaaa" in line.getMessage()

    async def test_the_new_model_is_served_when_no_worker_has_the_old_one(
        self, workers: tuple[ExitStack, list[str]], new: FakeModel
    ) -> None:
        stack, endpoints = workers
        async with WorkerClient(endpoints) as client:
            await until(lambda: client.odd_workers == 1)
            await asyncio.to_thread(stack.close)
            await until(lambda: client.info.fingerprint == NEW)
            assert client.odd_workers == 0
            await client.embed_audio(windows(1), deadline=soon(), fingerprint=NEW)
            assert new.batches == [[1]]

    async def test_no_embedding_comes_from_another_model_than_was_asked_for(
        self, workers: tuple[ExitStack, list[str]]
    ) -> None:
        stack, endpoints = workers
        async with WorkerClient(endpoints) as client:
            await until(lambda: client.odd_workers == 1)
            async with client.reserve(1, deadline=soon()) as room:
                await client.embed_audio(windows(1), deadline=soon(), reservation=room, fingerprint=OLD)
                await asyncio.to_thread(stack.close)
                await until(lambda: client.info.fingerprint == NEW)
                with pytest.raises(WorkerUnavailable):
                    await client.embed_audio(windows(1), deadline=soon(), reservation=room, fingerprint=OLD)
                with pytest.raises(ModelReplaced):
                    await client.embed_text(["dog"], deadline=soon(), fingerprint=OLD)


async def test_work_for_a_worker_that_stops_fails_at_once(tmp_path: Path, model: FakeModel) -> None:
    address = f"ipc://{tmp_path}/worker"
    with ExitStack() as stack:
        stack.enter_context(serving(model, address))
        async with WorkerClient([address]) as client:
            await until(lambda: client.ready)
            await asyncio.to_thread(stack.close)
            await until(lambda: not client.ready)
            outcomes: list[Embedded | BaseException] = await asyncio.gather(
                *(client.embed_text(["dog"], deadline=soon(60)) for _ in range(10)), return_exceptions=True
            )
            assert all(isinstance(outcome, EmbeddingError) for outcome in outcomes)


async def test_windows_that_are_not_contiguous(client: WorkerClient) -> None:
    clip = np.asfortranarray(windows(1, 2, 3))
    assert (await client.embed_audio(clip, deadline=soon())).vectors[:, 0].tolist() == [1, 2, 3]


def test_a_long_recording_is_sent_in_parts_with_whole_windows() -> None:
    front_end = FrontEndConfig(sample_rate=32_000, f_max=8_000)
    samples = np.zeros(48_000 * 600, np.int16)
    starts = window_starts(32_000 * 600, front_end.window_samples, front_end.window_hop_samples)
    parts = list(parts_of_recording(Recording(samples, 48_000, starts, 32_000 * 600), front_end))
    assert [len(part) for part in parts[:-1]] == [len(parts[0])] * (len(parts) - 1)
    assert sum(len(part) for part in parts) == len(starts) == 120
    for part in parts:
        assert part.samples.nbytes <= PART_BYTES
        assert (part.starts[-1] + front_end.window_samples) * 48_000 / 32_000 <= len(part.samples)
    short = Recording(samples[:100], 48_000, starts[:1], 67)
    assert list(parts_of_recording(short, front_end)) == [short]


def test_a_recording_at_a_rate_that_workers_do_not_resample_is_refused() -> None:
    recording = Recording(np.zeros(100, np.int16), 44_101, np.zeros(1, np.int64), 73)
    with pytest.raises(ValueError, match="44101 Hz"):
        list(parts_of_recording(recording, FrontEndConfig(sample_rate=32_000)))
