"""Messages as frames, and frames as messages."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from model.info import ModelInfo
from service.ipc.stats import WorkerStats
from service.ipc.transport import (
    PART_BYTES,
    Audio,
    Cancel,
    Done,
    Failed,
    Heartbeat,
    Hello,
    Info,
    Malformed,
    Message,
    Release,
    Reserve,
    Reserved,
    Text,
    array_buffer,
    buffer_array,
    decode,
    encode,
    listen,
    model_from_json,
    model_to_json,
)
from tests.service.fakes import CONFIG, windows

MESSAGES: list[Message] = [
    Hello(),
    Reserve(1, 3, "bulk", 12.5),
    Release(1),
    Audio(2, 3, "interactive", 12.5, 1, "request-1"),
    Text(3, 2, "interactive", 12.5, 3),
    Cancel(3),
    Info({"fingerprint": "f"}, 1024.5, 3.5),
    Heartbeat(WorkerStats().to_json()),
    Reserved(1),
    Done(2, 3, 0.1, 0.2),
    Failed(2, "overloaded", "the queue is full", 1.5),
]


def frames(*parts: bytes | memoryview) -> list[zmq.Frame]:
    return [zmq.Frame(bytes(part)) for part in parts]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: Message) -> None:
    decoded, payload = decode(frames(*encode(message, b"payload")))
    assert encode(decoded) == encode(message)
    assert type(decoded) is type(message)
    assert bytes(payload) == b"payload"


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"{}"],
        [b"not json", b""],
        [b"[1]", b""],
        [b'{"type": "Sudo"}', b""],
        [b'{"type": "Audio"}', b""],
        [b'{"type": "Cancel", "id": 1, "more": 2}', b""],
        [b"{}", b"", b"one too many"],
    ],
)
def test_nonsense_is_malformed(parts: list[bytes]) -> None:
    with pytest.raises(Malformed):
        decode(frames(*parts))


def test_arrays_travel_as_their_own_bytes() -> None:
    clip = windows(1, 2, 3)
    buffer = array_buffer(clip)
    assert np.shares_memory(np.frombuffer(buffer, np.float32), clip)
    back = buffer_array(buffer, 3)
    assert np.array_equal(back, clip)
    assert np.shares_memory(back, clip)


def test_an_array_that_is_not_contiguous_is_copied() -> None:
    clip = windows(1, 2, 3, 4)[::2]
    assert np.array_equal(buffer_array(array_buffer(clip), 2), clip)


@pytest.mark.parametrize(("size", "rows"), [(0, 1), (7, 1), (8, 3), (8, 0)])
def test_bytes_that_do_not_make_rows_are_malformed(size: int, rows: int) -> None:
    with pytest.raises(Malformed):
        buffer_array(memoryview(bytes(size)), rows)


def test_a_worker_tells_what_it_serves() -> None:
    info = ModelInfo(CONFIG, "f" * 64, 14.0, "cpu", "float32")
    assert model_from_json(json.loads(json.dumps(model_to_json(info)))) == info


def test_a_peer_that_sends_too_much_is_cut_off(tmp_path: Path) -> None:
    with zmq.Context() as context:
        endpoint = f"ipc://{tmp_path}/worker"
        server = listen(context, endpoint, largest_frame=2 << 20)
        client = context.socket(zmq.DEALER)
        client.linger = 0
        client.connect(endpoint)
        client.send_multipart([b"{}", bytes(PART_BYTES + 1)])
        time.sleep(0.05)
        client.send_multipart([b"{}", bytes(1 << 20)])
        assert server.poll(2_000)
        _, _, payload = server.recv_multipart()
        assert len(payload) == 1 << 20
        client.close()
        server.close()


def test_counters_survive_the_wire_and_add_up() -> None:
    one, other = WorkerStats(restarts=1, queue_seconds=2.5), WorkerStats(cancelled=3)
    one.batch_size["audio"].observe(3)
    other.batch_size["audio"].observe(300)
    received = WorkerStats.from_json(json.loads(json.dumps(one.to_json())))
    assert received == one
    received.add(other)
    assert received.batch_size["audio"].cumulative()[1:4] == [("2.0", 0), ("4.0", 1), ("8.0", 1)]
    assert received.batch_size["audio"].cumulative()[-1] == ("+Inf", 2)
    assert received.batch_size["audio"].sum == 303
    assert (received.restarts, received.cancelled, received.queue_seconds) == (1, 3, 2.5)


def test_a_restarted_worker_counts_on(tmp_path: Path) -> None:
    stats = WorkerStats(audio_seconds=50.0, queue_seconds=9.0, busy_s=1.0)
    stats.batch_duration_s["text"].observe(0.02)
    stats.save(tmp_path / "worker.json")
    restored = WorkerStats.restore(tmp_path / "worker.json")
    assert restored.audio_seconds == 50
    assert restored.batch_duration_s["text"].sum == 0.02
    assert (restored.queue_seconds, restored.busy_s) == (0, 0), "what was waiting died with the worker"
    assert WorkerStats.restore(tmp_path / "none.json") == WorkerStats()
    (tmp_path / "broken.json").write_text('{"batch_size": 1}')
    assert WorkerStats.restore(tmp_path / "broken.json") == WorkerStats()
