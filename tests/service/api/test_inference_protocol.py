"""The door for clients of the Open Inference Protocol: `/v2`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from httpx2 import Response
from starlette.testclient import TestClient
from tritonclient.utils import InferenceServerException

from tests.conftest import ROOT
from tests.service.api.test_gate import keys_file
from tests.service.api.test_hugging_face import refusal
from tests.service.api.test_routes import b64, form
from tests.service.conftest import Serve
from tests.service.spectral import SpectralEmbedder

MODEL = "anysound-small"
CLIPS = [(ROOT / "examples" / name).read_bytes() for name in ("crow.flac", "drums.flac")]
LABELS = ["drums", "a person speaking", "crow"]
INFER = "/v2/models/spectral/infer"


# Triton's client


@pytest.fixture(scope="module")
def server(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address.removeprefix("http://")) as client:
        yield client


def bytes_input(name: str, items: list[Any], binary: bool) -> triton.InferInput:
    tensor = triton.InferInput(name, [len(items)], "BYTES")
    tensor.set_data_from_numpy(np.array(items, dtype=np.object_), binary_data=binary)
    return tensor


def inputs(binary: bool) -> list[triton.InferInput]:
    clips = CLIPS if binary else [b64(clip) for clip in CLIPS]  # bytes that are not text cannot go in JSON
    return [bytes_input("audio", clips, binary), bytes_input("labels", LABELS, binary)]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
@pytest.mark.parametrize("binary_answer", [True, False], ids=["binary answer", "JSON answer"])
def test_triton_client_gets_scores_in_the_order_of_the_labels(
    server: triton.InferenceServerClient, binary: bool, binary_answer: bool
) -> None:
    wanted = [triton.InferRequestedOutput(name, binary_data=binary_answer) for name in ("scores", "labels")]
    answer = server.infer(MODEL, inputs(binary), outputs=wanted, request_id="one", model_version="1")
    scores = answer.as_numpy("scores")
    assert (scores.dtype, scores.shape) == (np.float32, (2, 3))
    assert [LABELS[best] for best in scores.argmax(axis=1)] == ["crow", "drums"]
    assert scores.sum(axis=1) == pytest.approx(1)
    names = [name if isinstance(name, str) else name.decode() for name in answer.as_numpy("labels")]
    assert names == LABELS
    assert answer.get_response()["id"] == "one"


def test_triton_client_sends_parameters(server: triton.InferenceServerClient) -> None:
    parameters = {"activation": "sigmoid", "template": "the sound of {}"}
    answer = server.infer(MODEL, inputs(True), parameters=parameters)
    scores = answer.as_numpy("scores")
    assert scores.argmax(axis=1).tolist() == [2, 0]
    assert scores.sum(axis=1) != pytest.approx(1)
    assert answer.as_numpy("similarity") is None


def test_triton_client_finds_server_and_model(server: triton.InferenceServerClient) -> None:
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready(MODEL)
    assert server.is_model_ready(MODEL, "1")
    assert not server.is_model_ready("other")
    assert server.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    for version in ("", "1"):
        metadata = server.get_model_metadata(MODEL, version)
        assert (metadata["name"], metadata["versions"]) == (MODEL, ["1"])
        assert [tensor["name"] for tensor in metadata["inputs"]] == ["audio", "labels"]


def test_triton_client_shows_why_a_request_is_refused(server: triton.InferenceServerClient) -> None:
    broken = [bytes_input("audio", [CLIPS[0], b"not a sound"], True), bytes_input("labels", LABELS, True)]
    with pytest.raises(InferenceServerException, match=r"audio\.1: ") as refused:
        server.infer(MODEL, broken)
    assert refused.value.status() == "415"
    with pytest.raises(InferenceServerException, match="There is no model 'other'"):
        server.infer("other", inputs(True))


# The routes


def tensor(name: str, items: list[Any], **members: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(items)], "datatype": "BYTES", "data": items, **members}


def ask(client: TestClient, *tensors: dict[str, Any], **members: Any) -> Response:
    return client.post(INFER, json={"inputs": tensors, **members})


def output(answer: Response) -> list[list[float]]:
    """The only output of an answer."""
    assert answer.status_code == 200, answer.text
    [scores] = answer.json()["outputs"]
    assert (scores["name"], scores["datatype"]) == ("scores", "FP32")
    return np.reshape(scores["data"], scores["shape"]).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_scores_are_those_of_classify(client: TestClient, low: bytes, high: bytes, activation: str) -> None:
    labels = ["middle", "low", "high"]
    chosen = {"activation": activation, "template": "a {}"}
    clips = [b64(low), b64(high)]
    answer = ask(client, tensor("audio", clips), tensor("labels", labels), parameters=chosen)
    assert answer.json()["model_name"] == "spectral"
    for scores, clip in zip(output(answer), (low, high), strict=True):
        [result] = form(client, clip, labels=labels, **chosen).json()["results"]
        expected = {row["label"]: row["score"] for row in result["scores"]}
        assert dict(zip(labels, scores, strict=True)) == pytest.approx(expected, abs=1e-6)


def test_tensors_may_be_nested_and_mixed(client: TestClient, low: bytes) -> None:
    nested = {"name": "labels", "shape": [2, 1], "datatype": "BYTES", "data": [["high"], ["low"]]}
    [[high, low_score]] = output(ask(client, tensor("audio", [f"data:audio/wav;base64,{b64(low)}"]), nested))
    assert low_score > high


def test_similarity_may_be_asked_for(client: TestClient, low: bytes) -> None:
    tensors = [tensor("audio", [b64(low)]), tensor("labels", ["high", "low"])]
    answer = ask(client, *tensors, outputs=[{"name": "similarity"}])
    [similarity] = answer.json()["outputs"]
    [result] = form(client, low, labels=["high", "low"]).json()["results"]
    expected = {row["label"]: row["similarity"] for row in result["scores"]}
    assert similarity["data"] == pytest.approx([expected["high"], expected["low"]], abs=1e-6)


def test_labels_may_be_a_registered_set(client: TestClient, low: bytes) -> None:
    client.put("/v1/label-sets/tones", json={"labels": ["high", "low"]})
    wanted = [{"name": "labels"}, {"name": "scores"}]
    answer = ask(client, tensor("audio", [b64(low)]), parameters={"label_set": "tones"}, outputs=wanted).json()
    assert answer["outputs"][0]["data"] == ["high", "low"]
    assert answer["outputs"][1]["shape"] == [1, 2]


AUDIO, TWO = tensor("audio", ["UklGRg=="]), tensor("labels", ["a", "b"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [AUDIO]}, "exactly one of `labels` and `label_set`"),
        ({"inputs": [TWO]}, "no clip was sent"),
        ({"inputs": [AUDIO, AUDIO, TWO]}, "each once at most"),
        ({"inputs": [AUDIO, TWO, tensor("image", ["a"])]}, "the inputs are audio and labels"),
        ({"inputs": [AUDIO, {**TWO, "datatype": "FP32"}]}, "the datatype is BYTES, not FP32"),
        ({"inputs": [AUDIO, {**TWO, "shape": [3]}]}, "2 elements, the shape has 3"),
        ({"inputs": [AUDIO, {**TWO, "shape": [-1]}]}, "1 to 100 are taken"),
        ({"inputs": [AUDIO, {**TWO, "shape": [10**9]}]}, "1 to 100 are taken"),
        ({"inputs": [tensor("audio", ["UklGRg=="] * 5), TWO]}, "1 to 4 are taken"),
        ({"inputs": [AUDIO, tensor("labels", [1, 2])]}, "the elements are strings"),
        ({"inputs": [AUDIO, tensor("labels", [["a"], ["b"]])]}, "the elements are strings"),
        ({"inputs": [AUDIO, {**TWO, "data": None}]}, "either data or parameters.binary_data_size"),
        ({"inputs": [AUDIO, {**TWO, "parameters": {"binary_data_size": 4}}]}, "either data or"),
        ({"inputs": [tensor("audio", ["!"]), TWO]}, "audio.0: not valid base64"),
        ({"inputs": [AUDIO, TWO], "parameters": {"temperature": 1}}, "temperature"),
        ({"inputs": [AUDIO, TWO], "outputs": [{"name": "logits"}]}, "outputs"),
        ({"inputs": [AUDIO, tensor("labels", ["a", "a"])]}, "the same label"),
    ],
)
def test_a_wrong_request_is_refused(client: TestClient, body: dict[str, Any], message: str) -> None:
    status, error = refusal(client.post(INFER, json=body))
    assert status == 422
    assert message in error


def packed(*items: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def binary(name: str, count: int, size: int) -> str:
    tensor = f'"name": "{name}", "shape": [{count}], "datatype": "BYTES"'
    return f'{{{tensor}, "parameters": {{"binary_data_size": {size}}}}}'


@pytest.mark.parametrize(
    ("count", "size", "raw", "message"),
    [
        (2, 10, packed(b"a", b"b"), None),
        (2, 11, packed(b"a", b"b"), "10 bytes follow for it"),
        (2, 9, packed(b"a", b"b"), "ends within an element"),
        (1, 10, packed(b"a", b"b"), "more than 1 elements"),
        (3, 10, packed(b"a", b"b"), "ends within an element"),
        (2, 10, packed(b"a", b"b") + b"x", "1 bytes follow the last tensor"),
        (1, 8, b"\xff\xff\xff\xffabcd", "ends within an element"),
        (2, 10, packed(b"a", b"\xff"), "labels.1: not UTF-8"),
    ],
)
def test_binary_tensors_have_to_fill_their_bytes(
    client: TestClient, low: bytes, count: int, size: int, raw: bytes, message: str | None
) -> None:
    audio = packed(low)
    head = f'{{"inputs": [{binary("audio", 1, len(audio))}, {binary("labels", count, size)}]}}'.encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = client.post(INFER, content=head + audio + raw, headers=headers)
    if message is None:
        assert len(output(answer)[0]) == 2
    else:
        status, error = refusal(answer)
        assert status == 422
        assert message in error


@pytest.mark.parametrize("length", ["-1", "x", "1000000", "1e2", "", "9" * 30])
def test_a_wrong_length_of_the_json_is_refused(client: TestClient, length: str) -> None:
    answer = client.post(INFER, content=b"{}", headers={"Inference-Header-Content-Length": length})
    status, error = refusal(answer)
    assert status == 422
    assert "inference-header-content-length" in error


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/other", 404),
        ("/v2/models/other/ready", 404),
        ("/v2/models/spectral/versions/2", 404),
        ("/v2/models/spectral/versions/2/ready", 404),
        ("/v2/nothing", 404),
    ],
)
def test_what_is_not_there_is_said_in_the_protocols_form(client: TestClient, path: str, status: int) -> None:
    assert refusal(client.get(path))[0] == status


def test_health_needs_no_key_and_everything_else_does(serve: Serve, tmp_path: Path) -> None:
    client = serve(api_keys_file=keys_file(tmp_path, "first"))
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/spectral/ready"):
        assert client.get(path).status_code == 200
    for method, path in (("GET", "/v2"), ("GET", "/v2/models/spectral"), ("POST", INFER), ("GET", "/v2/nothing")):
        assert refusal(client.request(method, path))[0] == 401
        assert client.request(method, path, headers={"X-API-Key": "first"}).status_code != 401


def test_health_follows_the_worker(client: TestClient, embedder: SpectralEmbedder) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/models/spectral/ready").json() == {"name": "spectral", "ready": True}
    embedder.ready = False
    answer = client.get("/v2/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False})
    assert refusal(client.post(INFER, content=b"{}"))[0] == 503
    embedder.alive = False
    assert client.get("/v2/health/live").status_code == 503
