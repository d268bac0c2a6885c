"""Requests as real clients send them: each is served, or refused with the reason."""

from __future__ import annotations

import base64
import gzip
import json
import textwrap

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from service.api.base64_text import decode_base64
from tests.service.api.test_routes import b64, bare, form, problem
from tests.service.spectral import SpectralEmbedder

LABELS = ["low", "high"]
INVALID = (422, "invalid_request")


def best(answer: Response) -> str:
    """The best label of the only clip."""
    assert answer.status_code == 200, answer.text
    [result] = answer.json()["results"]
    return str(result["scores"][0]["label"])


def part(name: str, value: bytes, *headers: str, disposition: str = "") -> bytes:
    lines = [f'Content-Disposition: form-data; name="{name}"{disposition}', *headers]
    return b"--x\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + value + b"\r\n"


def multipart(client: TestClient, *parts: bytes, media_type: str = "multipart/form-data; boundary=x") -> Response:
    labels = [part("labels", label.encode()) for label in LABELS]
    body = b"".join([*parts, *labels, b"--x--\r\n"])
    return client.post("/v1/classify", content=body, headers={"Content-Type": media_type})


# Media types


@pytest.mark.parametrize(
    "media_type", ["video/webm", "video/mp4; codecs=opus", "application/ogg", "binary/octet-stream", "AUDIO/WAV"]
)
def test_a_recording_is_taken_under_every_type_that_recorders_use(
    media_type: str, client: TestClient, low: bytes
) -> None:
    headers = {"Content-Type": media_type}
    assert best(client.post("/v1/classify", params={"labels": LABELS}, content=low, headers=headers)) == "low"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "identity, gzip"])
def test_a_compressed_body_is_refused_by_the_name_of_its_encoding(
    encoding: str, client: TestClient, low: bytes
) -> None:
    headers = {"Content-Type": "audio/wav", "Content-Encoding": encoding}
    answer = client.post("/v1/classify", params={"labels": LABELS}, content=gzip.compress(low), headers=headers)
    assert problem(answer) == (415, "unsupported_audio")
    assert encoding.lower() in answer.json()["detail"]
    assert answer.headers["accept-encoding"] == "identity"


def test_the_identity_encoding_is_none(client: TestClient, low: bytes) -> None:
    headers = {"Content-Type": "audio/wav", "Content-Encoding": "identity"}
    assert best(client.post("/v1/classify", params={"labels": LABELS}, content=low, headers=headers)) == "low"


# Base64


@pytest.mark.parametrize(
    "spelling",
    [
        lambda text: f"data:audio/wav;base64,{text}",
        lambda text: "\n".join(textwrap.wrap(text, 76)),
        lambda text: "\r\n".join(textwrap.wrap(text, 64)) + "\r\n",
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: text.rstrip("="),
        lambda text: f" {text} ",
    ],
    ids=["a data URI", "lines", "MIME lines", "URL-safe", "unpadded", "blanks around"],
)
@pytest.mark.parametrize("cut", [0, 1, 2], ids=["", "one byte less", "two bytes less"])
def test_base64_is_read_as_encoders_write_it(spelling: object, cut: int, client: TestClient, low: bytes) -> None:
    assert callable(spelling)
    data = spelling(b64(low[: len(low) - cut]))
    assert best(client.post("/v1/classify", json={"audio": {"data": data}, "labels": LABELS})) == "low"
    embedded = client.post("/v1/embeddings", json={"input": data, "modality": "audio"})
    assert embedded.status_code == 200, embedded.text


@pytest.mark.parametrize(
    "data", ["data:audio/wav,UklGRg==", "data:audio/wav;base64", "UklGRg==UklGRg==", "UklGR", "U=kl"]
)
def test_what_is_not_base64_is_refused(data: str, client: TestClient) -> None:
    answer = client.post("/v1/classify", json={"audio": {"data": data}, "labels": LABELS})
    assert problem(answer) == INVALID
    assert answer.json()["detail"] == "audio.0.data: not valid base64"


def test_megabytes_of_base64_are_read_to_the_byte(client: TestClient) -> None:
    data = bytes(range(256)) * 12_345 + b"x"
    assert decode_base64(base64.encodebytes(data).decode()) == data
    with pytest.raises(ValueError, match="padding"):
        decode_base64(base64.b64encode(data).decode() + "A" * (2 << 20))


# Forms


def test_a_form_without_a_boundary_says_so(client: TestClient) -> None:
    answer = multipart(client, media_type="multipart/form-data")
    assert problem(answer) == INVALID
    assert "boundary" in answer.json()["detail"]


def test_too_many_files_are_refused_by_their_limit(client: TestClient, low: bytes) -> None:
    answer = multipart(client, *[part("audio", low, disposition='; filename="a"')] * 5)
    assert problem(answer) == INVALID
    assert "the limit is 4" in answer.json()["detail"]


def test_too_many_fields_are_refused_by_their_limit(client: TestClient) -> None:
    answer = multipart(client, *[part("labels", b"x")] * 20_001)
    assert problem(answer) == INVALID
    assert "20000 fields" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("; filename*=UTF-8''na%C3%AFve%20bird.wav", "naïve bird.wav"),
        ("; filename*=iso-8859-1'de'V%F6gel.wav", "Vögel.wav"),
        ("; filename=plain.wav; filename*=UTF-8''other.wav", "plain.wav"),
        ('; filename="Aufnahme\xfc.wav"', "Aufnahmeü.wav"),
    ],
)
def test_a_file_is_called_as_its_client_calls_it(disposition: str, name: str, client: TestClient, low: bytes) -> None:
    answer = multipart(client, part("audio", low, disposition=disposition))
    assert best(answer) == "low"
    assert answer.json()["results"][0]["name"] == name


@pytest.mark.parametrize("media_type", ["audio/wav", "video/mp4", "application/octet-stream"])
def test_a_part_of_an_audio_type_is_a_file_without_a_name(media_type: str, client: TestClient, low: bytes) -> None:
    assert best(multipart(client, part("audio", low, f"Content-Type: {media_type}"))) == "low"


@pytest.mark.parametrize("charset", ["undefined", "punycode", "unicode_escape", "idna", "rot13", "\x00", "utf-8"])
def test_whatever_charset_a_form_names_it_is_utf_8(charset: str, client: TestClient, low: bytes) -> None:
    audio = part("audio", low, disposition='; filename="vögel.wav"')
    answer = multipart(client, audio, media_type=f"multipart/form-data; charset={charset}; boundary=x")
    assert best(answer) == "low"
    assert answer.json()["results"][0]["name"] == "vögel.wav"


@pytest.mark.parametrize(
    "media_type",
    [
        "multipart/form-data; boundary=" + "x" * 10_000,
        'multipart/form-data; boundary="x',
        "multipart/form-data; boundary=;;;",
        "multipart/form-data; boundary=\xff",
        "multipart/form-data; =; x",
        "application/json; charset=undefined",
        "audio/\xff",
        ";",
    ],
)
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/embeddings", "/v1/label-sets/a"])
def test_garbage_in_content_type_is_the_clients_fault(media_type: str, path: str, client: TestClient) -> None:
    method = "PUT" if path.endswith("a") else "POST"
    headers = {b"Content-Type": media_type.encode("latin-1")}
    assert 400 <= client.request(method, path, content=b"--x\r\nabc", headers=headers).status_code < 500


# Fields


def test_empty_optional_fields_are_absent(client: TestClient, low: bytes) -> None:
    empty = {"label_set": "", "template": "", "activation": "", "top_k": "", "timeline": "", "none_of_these": ""}
    assert best(form(client, low, labels=LABELS, **empty)) == "low"
    nulls = dict.fromkeys(empty)
    assert best(client.post("/v1/classify", json={"audio": {"data": b64(low)}, "labels": LABELS, **nulls})) == "low"


def test_labels_in_brackets_are_labels(client: TestClient, low: bytes) -> None:
    assert best(form(client, low, **{"labels[]": LABELS})) == "low"


def test_a_comma_in_the_only_label_is_kept_and_warned_of(client: TestClient, low: bytes) -> None:
    answer = form(client, low, labels="low,high", activation="sigmoid")
    assert best(answer) == "low,high"
    [warning] = answer.json()["warnings"]
    assert "'low,high' is one label" in warning
    assert "warnings" not in form(client, low, labels=["low, deep", "high"]).json()
    refused = form(client, low, labels="low,high")
    assert problem(refused) == INVALID
    assert "'low,high' is one label" in refused.json()["detail"]


def test_query_fields_beside_a_body_with_fields_are_refused(client: TestClient, low: bytes) -> None:
    answer = client.post("/v1/classify?top_k=1", files={"audio": ("a", low)}, data={"labels": LABELS})
    assert problem(answer) == INVALID
    assert answer.json()["detail"].startswith("top_k: in the query")


def test_an_id_that_no_set_can_have_is_unknown(client: TestClient, low: bytes) -> None:
    for no_id in ("x" * 126, "x" * 200, "../etc", "a b"):
        assert problem(form(client, low, label_set=no_id)) == (404, "unknown_label_set")


# Methods


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
def test_probes_answer_head(path: str, client: TestClient) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/classify", "POST"),
        ("/v1/label-sets/x", "DELETE, GET, PUT"),
        ("/v1/label-sets", "GET"),
        ("/livez", "GET, HEAD"),
    ],
)
def test_allow_names_every_method_of_a_path(path: str, methods: str, client: TestClient) -> None:
    refused = client.request("PATCH", path)
    assert problem(refused) == (405, "method_not_allowed")
    assert refused.headers["allow"] == methods
    asked = client.options(path)
    assert (asked.status_code, asked.headers["allow"]) == (204, methods)


# JSON


def test_json_of_too_many_values_is_refused_before_it_is_read(serve: object, client: TestClient) -> None:
    for body in (b'{"labels": [' + b"{}," * 600_000 + b"{}]}", b"[" * 600_000):
        answer = client.post("/v1/classify", content=body, headers={"Content-Type": "application/json"})
        assert problem(answer) == (413, "payload_too_large")
        assert "500000 values" in answer.json()["detail"]


def test_large_json_is_read_as_small_json_is(client: TestClient, low: bytes, embedder: SpectralEmbedder) -> None:
    document = {"audio": [{"data": b64(low + bytes(1 << 20))}], "labels": LABELS}
    assert best(client.post("/v1/classify", content=json.dumps(document), headers={"Content-Type": "application/json"}))


def test_bare_fields_of_the_query_are_the_same_fields(client: TestClient, low: bytes) -> None:
    assert best(bare(client, low, labels=json.dumps(LABELS), top_k="")) == "low"
