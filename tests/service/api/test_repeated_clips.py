"""A recording that is sent again, byte for byte."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.service.conftest import Serve
from tests.service.spectral import SpectralEmbedder


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return serve(SpectralEmbedder(), audio_cache_bytes=1 << 20, max_request_audio_seconds=4)


def stages(client: TestClient, clips: list[bytes], **fields: object) -> tuple[set[str], dict[str, object]]:
    """The stages that a request went through, and its answer."""
    answer = client.post("/v1/classify", files=[("audio", ("clip", clip)) for clip in clips], data=fields)
    return {each.split(";")[0].strip() for each in answer.headers["server-timing"].split(",")}, answer.json()


@pytest.mark.parametrize("fields", [{}, {"timeline": True}, {"timeline": True, "hop_s": 0.5}, {"events": True}])
def test_it_is_not_decoded_again_and_gets_the_same_answer(
    client: TestClient, low_then_high: bytes, fields: dict[str, object]
) -> None:
    first, answer = stages(client, [low_then_high], labels=["low", "high"], **fields)
    second, again = stages(client, [low_then_high], labels=["low", "high"], **fields)
    assert "decode" in first
    assert "decode" not in second
    assert again == answer


def test_another_hop_is_another_question(client: TestClient, low_then_high: bytes) -> None:
    counts = []
    for hop_s in (0.5, 0.25, 0.5):
        _, answer = stages(client, [low_then_high], labels=["low", "high"], timeline=True, hop_s=hop_s)
        counts.append(len(answer["results"][0]["timeline"]))  # type: ignore[index]
    assert counts[0] == counts[2] < counts[1]


def test_it_counts_towards_the_limits_of_a_request(client: TestClient, low_then_high: bytes) -> None:
    stages(client, [low_then_high], labels=["low", "high"])
    _, refused = stages(client, [low_then_high, low_then_high], labels=["low", "high"])
    assert refused["code"] == "audio_too_long"


def test_what_cannot_be_read_is_refused_again(client: TestClient) -> None:
    for _ in range(2):
        _, refused = stages(client, [b"no recording"], labels=["low", "high"])
        assert refused["code"] == "unsupported_audio"
