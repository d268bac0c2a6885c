"""Bad input, as the contract answers it: every one its own 4xx, whatever the encoding."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from tests.service.api.test_routes import ENCODINGS, Send, b64, bare, document, form, problem
from tests.service.conftest import Serve, encoded
from tests.service.spectral import RATE, SpectralEmbedder, tone

INVALID = (422, "invalid_request")
UNSUPPORTED = (415, "unsupported_audio")
TOO_LARGE = (413, "payload_too_large")
TOO_LONG = (413, "audio_too_long")


@pytest.fixture(autouse=True)
def _without_harm(client: TestClient, low: bytes) -> Iterator[None]:
    """Whatever was sent was answered, and the next request is served (benchmarks/caches.py says how soon)."""
    yield
    assert form(client, low, labels=["low", "high"]).status_code == 200


# Fields


@ENCODINGS
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="no labels"),
        pytest.param({"labels": "dog"}, id="softmax over one label"),
        pytest.param({"labels": ["dog", "dog"]}, id="a label twice"),
        pytest.param({"labels": ["dog", ""]}, id="an empty label"),
        pytest.param({"labels": ["dog", " \t"]}, id="a blank label"),
        pytest.param({"labels": ["dog", "x" * 201]}, id="a long label"),
        pytest.param({"labels": ["dog", "cat"], "label_set": "pets"}, id="labels and a label set"),
        pytest.param({"labels": ["dog", "cat"], "template": "a sound"}, id="no placeholder"),
        pytest.param({"labels": ["dog", "cat"], "template": "{label} {label}"}, id="two placeholders"),
        pytest.param({"labels": ["dog", "cat"], "template": "{label} {}"}, id="both placeholders"),
        pytest.param({"labels": ["dog", "cat"], "template": "{label}" + "x" * 200}, id="a long template"),
        pytest.param({"labels": ["dog", "cat"], "activation": "tanh"}, id="an unknown activation"),
        pytest.param({"labels": ["dog", "cat"], "top_k": "-1"}, id="a negative top_k"),
        pytest.param({"labels": ["dog", "cat"], "top_k": "0"}, id="a top_k of 0"),
        pytest.param({"labels": ["dog", "cat"], "top_k": "many"}, id="a top_k that is no number"),
        pytest.param({"labels": ["dog", "cat"], "top_k": "9" * 5_000}, id="an enormous top_k"),
        pytest.param({"labels": ["dog", "cat"], "timeline": "maybe"}, id="a flag that is neither"),
        pytest.param({"labels": ["dog", "cat"], "thresholds": "0.5"}, id="an unknown field"),
    ],
)
def test_fields_that_make_no_sense_are_refused(
    send: Send, fields: dict[str, object], client: TestClient, low: bytes
) -> None:
    fields = {name: [value] if name == "labels" and isinstance(value, str) else value for name, value in fields.items()}
    assert problem(send(client, low, **fields)) == INVALID


@ENCODINGS
def test_an_unknown_label_set_is_not_found(send: Send, client: TestClient, low: bytes) -> None:
    assert problem(send(client, low, label_set="nobody-registered-this")) == (404, "unknown_label_set")


@pytest.mark.parametrize("send", [form, document])
def test_ten_thousand_labels_are_too_many(send: Send, client: TestClient, low: bytes) -> None:
    assert problem(send(client, low, labels=[f"label {n}" for n in range(10_000)])) == INVALID


def test_ten_thousand_labels_in_one_list_are_too_many(client: TestClient, low: bytes) -> None:
    assert problem(form(client, low, labels=json.dumps([f"label {n}" for n in range(10_000)]))) == INVALID


@pytest.mark.parametrize("send", [form, document])
def test_a_label_of_a_megabyte_is_refused_and_not_echoed(send: Send, client: TestClient, low: bytes) -> None:
    answer = send(client, low, labels=["dog", "x" * 1_000_000])
    assert problem(answer) == INVALID
    assert len(answer.content) < 1_000


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param([], id="no label in the list"),
        pytest.param(["dog", 7], id="a number"),
        pytest.param(["dog", None], id="null"),
        pytest.param(["dog", {}], id="an object without a name"),
        pytest.param(["dog", {"name": "cat", "color": "red"}], id="an unknown member"),
        pytest.param(["dog", {"name": "cat", "prompts": "one"}], id="prompts that are no list"),
        pytest.param(["dog", {"name": "cat", "prompts": [""]}], id="an empty prompt"),
        pytest.param(["dog", {"name": "cat", "negative_prompts": [" "]}], id="a blank negative prompt"),
        pytest.param(["dog", {"name": "cat", "prompts": ["x"] * 1_000}], id="a thousand prompts"),
        pytest.param(["dog", {"name": "dog", "prompts": ["woof"]}], id="a name twice"),
        pytest.param(["dog", {"name": "", "prompts": ["woof"]}], id="an empty name"),
        pytest.param(["dog", ["cat"]], id="a list in the list"),
        pytest.param(["dog", "\ud800"], id="half of a surrogate pair"),
    ],
)
def test_lists_of_labels_that_make_no_sense_are_refused(labels: list[object], client: TestClient, low: bytes) -> None:
    assert problem(form(client, low, labels=json.dumps(labels))) == INVALID
    assert problem(bare(client, low, labels=json.dumps(labels))) == INVALID
    body = json.dumps({"audio": {"data": b64(low)}, "labels": labels})
    assert problem(client.post("/v1/classify", content=body, headers={"Content-Type": "application/json"})) == INVALID


def test_a_single_field_given_twice_is_refused(client: TestClient, low: bytes) -> None:
    assert problem(form(client, low, labels=["dog", "cat"], top_k=["1", "2"])) == INVALID


# Bodies


def post(client: TestClient, body: bytes | str, media_type: str | None, query: str = "") -> Response:
    headers = {} if media_type is None else {"Content-Type": media_type}
    return client.post(f"/v1/classify{query}", content=body, headers=headers)


@pytest.mark.parametrize("media_type", ["audio/wav", "application/octet-stream"])
def test_an_empty_recording_is_refused(media_type: str, client: TestClient) -> None:
    assert problem(post(client, b"", media_type, "?labels=dog&labels=cat")) == INVALID


def test_an_empty_body_of_json_is_refused(client: TestClient) -> None:
    assert problem(post(client, b"", "application/json")) == INVALID


def test_a_form_without_audio_is_refused(client: TestClient) -> None:
    assert problem(client.post("/v1/classify", data={"labels": ["dog", "cat"]}, files={"x": b""})) == INVALID
    assert problem(client.post("/v1/classify", files=[("labels", (None, "dog")), ("labels", (None, "a"))])) == INVALID


def test_audio_as_a_text_field_is_refused(client: TestClient) -> None:
    files = [("audio", (None, "text")), ("labels", (None, "dog")), ("labels", (None, "cat"))]
    assert problem(client.post("/v1/classify", files=files)) == INVALID


def test_an_empty_file_is_that_clips_error(client: TestClient) -> None:
    assert problem(form(client, b"", labels=["dog", "cat"])) in (INVALID, UNSUPPORTED)


@pytest.mark.parametrize("media_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "image/png", "x"])
def test_other_media_types_are_not_taken(media_type: str | None, client: TestClient, low: bytes) -> None:
    assert problem(post(client, low, media_type, "?labels=dog&labels=cat")) == UNSUPPORTED


@pytest.mark.parametrize(
    "body",
    [
        b"--x--\r\n",
        b"no boundary here",
        b"--x\r\n\r\n",
        b'--x\r\nContent-Disposition: form-data; name="labels"\r\n\r\ndog',
        b"--x\r\nContent-Disposition: form-data\r\n\r\ndog\r\n--x--\r\n",
        b"",
    ],
)
def test_forms_that_cannot_be_read_are_refused(body: bytes, client: TestClient) -> None:
    assert problem(post(client, body, "multipart/form-data; boundary=x")) == INVALID


def test_a_form_without_a_boundary_is_refused(client: TestClient) -> None:
    assert problem(post(client, b"--x--", "multipart/form-data")) == INVALID


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "null",
        '"text"',
        "NaN",
        "[" * 100_000,
        "\ud800".encode("utf-8", "surrogatepass"),
        '{"labels": ["dog", "cat"]}',
        '{"audio": [], "labels": ["dog", "cat"]}',
        '{"audio": "UklGRg==", "labels": ["dog", "cat"]}',
        '{"audio": [7], "labels": ["dog", "cat"]}',
        '{"audio": [{}], "labels": ["dog", "cat"]}',
        '{"audio": [{"data": 7}], "labels": ["dog", "cat"]}',
        '{"audio": [{"data": "not base64!"}], "labels": ["dog", "cat"]}',
        '{"audio": [{"data": "UklGR"}], "labels": ["dog", "cat"]}',
        '{"audio": [{"data": "Ukl\\u00e9"}], "labels": ["dog", "cat"]}',
        '{"audio": [{"data": "UklGRg==", "url": "http://x"}], "labels": ["dog", "cat"]}',
        '{"audio": [{"data": "UklGRg==", "name": 7}], "labels": ["dog", "cat"]}',
        '{"audio": [{"data": "UklGRg==", "name": "\\ud800"}], "labels": ["dog", "cat"]}',
        '{"audio": [{"data": "UklGRg=="}], "labels": "dog"}',
        '{"audio": [{"data": "UklGRg=="}], "labels": ["dog", "cat"], "\\ud800": 1}',
        '{"audio": [{"data": "UklGRg=="}], "labels": ["dog", "cat"], "top_k": 1.5}',
        '{"audio": [{"data": "UklGRg=="}], "labels": ["dog", "cat"], "top_k": 1e999}',
        '{"audio": [{"data": "UklGRg=="}], "labels": ["dog", "cat"], "template": 7}',
        '{"audio": [{"data": "UklGRg=="}], "label_set": 7}',
        '{"audio": [{"data": "UklGRg=="}], "labels": ["dog", "cat"], "template": "\\ud800 {label}"}',
    ],
    ids=lambda body: str(body)[:60],
)
def test_json_that_makes_no_sense_is_refused(body: str | bytes, client: TestClient) -> None:
    assert problem(post(client, body, "application/json")) == INVALID


def test_more_clips_than_the_limit_are_refused(client: TestClient, low: bytes) -> None:
    files = [("audio", (f"{n}.wav", low)) for n in range(5)]
    assert problem(client.post("/v1/classify", files=files, data={"labels": ["low", "high"]})) == INVALID
    clips = [{"data": b64(low)}] * 5
    assert problem(client.post("/v1/classify", json={"audio": clips, "labels": ["low", "high"]})) == INVALID


@ENCODINGS
def test_a_body_over_the_limit_is_too_large(send: Send, serve: Serve, low: bytes) -> None:
    client = serve(max_upload_bytes=10_000)
    assert problem(send(client, low, labels=["low", "high"])) == TOO_LARGE


def test_a_body_that_says_nothing_of_its_length_is_bounded_while_it_streams(
    serve: Serve,
) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1_000):
            taken += 1
            yield bytes(1_000)

    client = serve(max_upload_bytes=10_000)
    headers = {"Content-Type": "audio/wav"}
    answer = client.post("/v1/classify?labels=a&labels=b", content=endless(), headers=headers)
    assert problem(answer) == TOO_LARGE


# Recordings


def wav_header(rate: int = RATE, channels: int = 1, frames: int = 0, claimed: int | None = None) -> bytes:
    """A 16 bit wav of zeros whose header claims `claimed` bytes of sound."""
    data = bytes(2 * channels * frames)
    size = len(data) if claimed is None else claimed
    form_chunk = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate * channels & 0xFFFFFFFF, 2 * channels & 0xFFFF, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form_chunk
        + (b"data" + struct.pack("<I", size) + data)
    )


def lying_flac(low: bytes) -> bytes:
    """A FLAC of a second whose header claims 2^36 - 1 frames."""
    flac = bytearray(encoded(tone(200), "FLAC"))
    flac[21] |= 0x0F
    flac[22:26] = b"\xff\xff\xff\xff"
    return bytes(flac)


def with_samples(value: float) -> bytes:
    samples = tone(200).copy()
    samples[100] = value
    return encoded(samples, subtype="FLOAT")


@pytest.fixture(
    params=[
        "text called .wav",
        "random bytes",
        "a header cut short",
        "a wav of 0 frames",
        "NaN",
        "Inf",
        "a rate of 10 Hz",
        "a rate of 2 GHz",
        "1,024 channels",
        "0 channels",
    ]
)
def unusable(request: pytest.FixtureRequest, low: bytes) -> bytes:
    recordings = {
        "text called .wav": b"This is a text file, whatever its name says.\n" * 20,
        "random bytes": np.random.default_rng(0).bytes(100_000),
        "a header cut short": low[:20],
        "a wav of 0 frames": wav_header(),
        "NaN": with_samples(np.nan),
        "Inf": with_samples(np.inf),
        "a rate of 10 Hz": wav_header(rate=10, frames=100),
        "a rate of 2 GHz": wav_header(rate=(1 << 31) - 1, frames=100),
        "1,024 channels": wav_header(channels=1_024, frames=100),
        "0 channels": wav_header(channels=0, frames=100),
    }
    return recordings[request.param]


@ENCODINGS
def test_what_is_no_usable_audio_is_unsupported(send: Send, unusable: bytes, client: TestClient) -> None:
    assert problem(send(client, unusable, labels=["low", "high"])) == UNSUPPORTED


def test_a_header_that_claims_68_billion_frames_is_believed_only_to_refuse_it(client: TestClient, low: bytes) -> None:
    assert problem(form(client, lying_flac(low), labels=["low", "high"])) == TOO_LONG


def test_three_hours_of_silence_are_too_long(client: TestClient) -> None:
    flac = encoded(np.zeros(3 * 3600 * RATE, np.float32), "FLAC")
    assert len(flac) < 300_000
    assert problem(form(client, flac, labels=["low", "high"])) == TOO_LONG


def test_what_decodes_of_a_cut_off_recording_is_scored(client: TestClient, embedder: SpectralEmbedder) -> None:
    mp3 = encoded(tone(200, 4, 44_100), "MP3", 44_100)
    [result] = form(client, mp3[: len(mp3) // 2], labels=["low", "high"]).json()["results"]
    assert 1.5 < result["duration_s"] < 2.5
    assert result["scores"][0]["label"] == "low"


def test_no_bad_input_reaches_the_worker(client: TestClient, embedder: SpectralEmbedder) -> None:
    form(client, b"not a sound", labels=["low", "high"])
    form(client, b"not a sound", labels=["low", "low"])
    assert embedder.windows == 0


def test_a_refused_field_costs_no_decoding(client: TestClient, embedder: SpectralEmbedder, low: bytes) -> None:
    answer = document(client, low, labels=["low"])
    assert "decode" not in answer.headers["server-timing"]
