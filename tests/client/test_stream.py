"""Events and live audio through the client, against the real service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from anysound_client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    Event,
    InvalidRequest,
    Label,
    Window,
)

CROW = Path(__file__).parents[2] / "examples" / "crow.flac"
LABELS = ["crow", "drums", "a person speaking"]


@pytest.fixture(scope="module")
def audio() -> tuple[bytes, int]:
    """16-bit samples: 8 s of faint noise, a crow twice, 4 s of noise."""
    crow, rate = soundfile.read(CROW, dtype="float32")
    noise = np.random.default_rng(0).standard_normal(12 * rate).astype(np.float32) * 1e-3
    samples = np.concatenate([noise[: 8 * rate], crow, crow, noise[8 * rate :]])
    return (samples * 32_767).astype("<i2").tobytes(), rate


def pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 9_999):
        yield data[at : at + 9_999]


def test_a_stream_yields_windows_and_events(address: str, audio: tuple[bytes, int]) -> None:
    data, rate = audio
    with Client(address) as client:
        received = list(client.stream(pieces(data), rate, LABELS, events=True, none_of_these=True, hop_s=1))
    windows = [message for message in received if isinstance(message, Window)]
    assert [window.start_s for window in windows[:3]] == [0, 1, 2]
    assert windows[4].scores[0].label == "crow"
    assert windows[4].none_of_these is not None
    [event] = [message for message in received if isinstance(message, Event) and message.label == "crow"]
    assert abs(event.start_s - 8) <= 1


async def test_the_asynchronous_client_yields_the_same(address: str, audio: tuple[bytes, int]) -> None:
    data, rate = audio

    async def live() -> AsyncIterator[bytes]:
        for piece in pieces(data):
            yield piece

    async with AsyncClient(address) as client:
        received = [message async for message in client.stream(live(), rate, LABELS, hop_s=1)]
    with Client(address) as synchronous:
        assert received == list(synchronous.stream(pieces(data), rate, LABELS, hop_s=1))


def test_a_fault_is_an_exception(address: str) -> None:
    with Client(address) as client:
        with pytest.raises(InvalidRequest, match="sample_rate"):
            list(client.stream([], 1, LABELS))
        with pytest.raises(ValueError, match="either"):
            client.stream([], 16_000)
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(ConnectionFailed):
        list(nobody.stream([], 16_000, LABELS))


def test_a_source_that_fails_ends_the_stream(address: str) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(1_000)
        raise RuntimeError("the microphone is gone")

    with Client(address) as client, pytest.raises(RuntimeError, match="microphone"):
        list(client.stream(broken(), 16_000, LABELS))


def test_events_are_typed(address: str) -> None:
    with Client(address) as client:
        labels: list[str | Label] = [Label("crow", threshold=0.2), "drums"]
        [event] = client.classify(CROW, labels, events=True, threshold=1.0).result.events
        assert event.label == "crow"
        assert event.start_s == 0
        assert client.put_label_set("tuned-crow", labels).labels[0].threshold == 0.2
        client.delete_label_set("tuned-crow")
