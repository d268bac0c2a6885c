"""The door for Hugging Face's clients: `POST /` and `POST /hf`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from httpx2 import Response
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from starlette.testclient import TestClient

from service.api.classify import PROMPTS_AT_ONCE
from service.api.default_labels import BUNDLED, read_default_labels
from service.settings import Settings, SettingsError
from tests import node
from tests.conftest import ROOT
from tests.service.api.test_gate import keys_file
from tests.service.api.test_routes import b64, form
from tests.service.conftest import Serve
from tests.service.spectral import SpectralEmbedder

CROW = ROOT / "examples" / "crow.flac"
LABELS = ["dog", "crow", "piano"]


def rows(answer: Response) -> list[dict[str, Any]]:
    """The rows of an answer, which are sorted and hold nothing else than labels and scores."""
    assert answer.status_code == 200, answer.text
    body: list[dict[str, Any]] = answer.json()
    assert all(row.keys() == {"label", "score"} for row in body)
    assert body == sorted(body, key=lambda row: -row["score"])
    return body


def labels(answer: Response) -> list[str]:
    return [row["label"] for row in rows(answer)]


def refusal(answer: Response) -> tuple[int, str]:
    """Status and message of an error in Hugging Face's form."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    return answer.status_code, answer.json()["error"]


# The Python client


@pytest.fixture(scope="module")
def endpoint(address: str) -> str:
    """The address of a service that has embedded the default labels. On a busy machine this outlasts a request."""
    for _ in range(5):
        if httpx2.post(f"{address}/hf", content=CROW.read_bytes(), timeout=60).status_code == 200:
            return address
    raise AssertionError("the default labels are not embedded")


@pytest.fixture
def hub(endpoint: str) -> InferenceClient:
    return InferenceClient(model=f"{endpoint}/hf")


@pytest.mark.parametrize("path", ["", "/", "/hf", "/hf?candidate_labels=crow,dog,piano"])
@pytest.mark.parametrize("audio", [CROW, str(CROW), CROW.read_bytes()], ids=["Path", "str", "bytes"])
def test_the_python_client_classifies_audio(endpoint: str, path: str, audio: Path | str | bytes) -> None:
    found = InferenceClient(model=endpoint + path).audio_classification(audio)
    assert found[0].label in ("crow", "crow cawing")
    assert found[0].score > found[1].score


def test_the_python_client_sends_parameters(hub: InferenceClient) -> None:
    found = hub.audio_classification(CROW, top_k=3, function_to_apply="sigmoid")
    assert len(found) == 3
    assert "crow" in [row.label for row in found]


def test_the_python_client_classifies_with_labels_of_its_own(hub: InferenceClient) -> None:
    for audio in (CROW, CROW.read_bytes()):
        found = hub.zero_shot_image_classification(audio, LABELS, hypothesis_template="the sound of a {}")
        assert found[0].label == "crow"
        assert sum(row.score for row in found) == pytest.approx(1)


def test_the_python_client_shows_why_a_request_is_refused(hub: InferenceClient) -> None:
    with pytest.raises(HfHubHTTPError, match="audio") as refused:
        hub.audio_classification(b"not a sound")
    assert refused.value.response.status_code == 415
    with pytest.raises(HfHubHTTPError, match="exactly one"):
        hub.zero_shot_image_classification(CROW, LABELS, hypothesis_template="no placeholder")


# Bodies


@pytest.mark.parametrize(
    "content_type", [None, "audio/wav", "application/x-www-form-urlencoded", "text/plain", "nonsense"]
)
@pytest.mark.parametrize("path", ["/", "/hf"])
def test_a_body_of_any_type_is_a_recording(path: str, content_type: str | None, client: TestClient, low: bytes) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = client.post(path, params={"candidate_labels": "high, low"}, content=low, headers=headers)
    assert labels(answer) == ["low", "high"]


@pytest.mark.parametrize("shape", [lambda text: text, lambda text: {"audio": text}, lambda text: {"image": text}])
@pytest.mark.parametrize("prefix", ["", "data:audio/wav;base64,"], ids=["bare", "a data URI"])
@pytest.mark.parametrize("given", [["high", "low"], "high, low", '["high", "low"]'], ids=["list", "commas", "JSON"])
def test_a_recording_in_json(client: TestClient, low: bytes, shape: Any, prefix: str, given: Any) -> None:
    body = {"inputs": shape(prefix + b64(low)), "parameters": {"candidate_labels": given}}
    assert labels(client.post("/hf", json=body)) == ["low", "high"]


def test_options_of_hugging_faces_servers_are_of_no_effect(client: TestClient, low: bytes) -> None:
    body = {"inputs": b64(low), "parameters": {"candidate_labels": "a,low"}, "options": {"wait_for_model": True}}
    assert labels(client.post("/hf", json=body)) == ["low", "a"]


# Parameters


def test_scores_are_those_of_classify(client: TestClient, low: bytes) -> None:
    chosen = {"labels": ["low", "middle"], "template": "a {}"}
    query = {"candidate_labels": "low,middle", "hypothesis_template": "a {}"}
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"activation": "softmax"}, {}),
        ({"activation": "sigmoid"}, {"multi_label": True}),
        ({"activation": "sigmoid"}, {"function_to_apply": "sigmoid"}),
        ({"activation": "softmax", "top_k": 1}, {"function_to_apply": "softmax", "top_k": 1}),
    ]
    for ours, theirs in cases:
        [result] = form(client, low, **chosen, **ours).json()["results"]
        expected = [{"label": row["label"], "score": row["score"]} for row in result["scores"]]
        assert rows(client.post("/hf", params={**query, **theirs}, content=low)) == expected


def test_no_function_gives_the_logits_that_the_softmax_is_taken_of(client: TestClient, low: bytes) -> None:
    query = {"candidate_labels": "low,middle", "function_to_apply": "none"}
    [result] = form(client, low, labels=["low", "middle"]).json()["results"]
    expected = [20.0 * row["similarity"] for row in result["scores"]]
    assert [row["score"] for row in rows(client.post("/", params=query, content=low))] == pytest.approx(expected)


def test_repeated_labels_are_taken_as_they_are(client: TestClient, low: bytes) -> None:
    answer = client.post("/", params={"candidate_labels": ["a, b", "low"]}, content=low)
    assert sorted(labels(answer)) == ["a, b", "low"]


def test_labels_may_be_a_registered_set(client: TestClient, low: bytes) -> None:
    client.put("/v1/label-sets/tones", json={"labels": ["high", "middle", "low"]})
    assert labels(client.post("/", params={"label_set": "tones", "top_k": 1}, content=low)) == ["low"]
    assert refusal(client.post("/", params={"label_set": "other"}, content=low))[0] == 404


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"candidate_labels": "low"}, "softmax over one label"),
        ({"candidate_labels": "low,low"}, "the same label"),
        ({"candidate_labels": "a,b", "label_set": "tones"}, "exactly one of"),
        ({"candidate_labels": "a,b", "top_k": "0"}, "top_k"),
        ({"candidate_labels": "a,b", "function_to_apply": "relu"}, "function_to_apply"),
        ({"candidate_labels": "a,b", "multi_label": "1", "function_to_apply": "softmax"}, "multi_label"),
        ({"candidate_labels": "a,b", "hypothesis_template": "{} {}"}, "exactly one"),
        ({"labels": "a,b"}, "labels"),
        ({"top_k": ["1", "2"]}, "given twice"),
    ],
)
def test_a_wrong_parameter_is_named(client: TestClient, low: bytes, query: dict[str, Any], message: str) -> None:
    status, error = refusal(client.post("/hf", params=query, content=low))
    assert status == 422
    assert message in error


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": "!"}, "not valid base64"),
        ({"inputs": ["UklGRg=="]}, "base64 of one recording"),
        ({"inputs": {"text": "a"}}, "base64 of one recording"),
        ({"parameters": {}}, "base64 of one recording"),
        ({"inputs": "UklGRg==", "parameters": []}, "parameters: an object"),
        ({"inputs": "UklGRg==", "parameters": {"temperature": 1}}, "temperature"),
        ({"inputs": "UklGRg==", "stream": True}, "stream: an unknown member"),
        ([], "not a JSON object"),
    ],
)
def test_a_wrong_body_is_refused(client: TestClient, body: Any, message: str) -> None:
    status, error = refusal(client.post("/hf", json=body))
    assert status == 422
    assert message in error


def test_a_parameter_in_query_and_body_is_refused(client: TestClient, low: bytes) -> None:
    answer = client.post("/hf?top_k=1", json={"inputs": b64(low), "parameters": {"top_k": 2}})
    assert refusal(answer) == (422, "top_k: in the query and in the body")


def test_errors_before_the_route_have_the_same_form(serve: Serve, tmp_path: Path, low: bytes) -> None:
    client = serve(api_keys_file=keys_file(tmp_path, "first"), max_upload_bytes=1_000)
    for path in ("/", "/hf"):
        assert refusal(client.post(path, content=low))[0] == 401
        headers = {"Authorization": "Bearer first"}
        assert refusal(client.post(path, content=low, headers=headers))[0] == 413
        assert refusal(client.post(path, content=b"", headers=headers)) == (422, "audio: no clip was sent")
        compressed = {**headers, "Content-Encoding": "gzip"}
        assert refusal(client.post(path, content=b"", headers=compressed))[0] == 415
    assert refusal(client.put("/hf", headers={"Authorization": "Bearer first"}))[0] == 405


def test_the_door_stands_under_a_prefix_too(serve: Serve, low: bytes) -> None:
    client = serve(root_path="/sounds")
    for path in ("/", "/sounds/", "/sounds/hf"):
        assert labels(client.post(path, params={"candidate_labels": "a,low"}, content=low)) == ["low", "a"]


# Labels of a request that has none


def test_prompts_that_are_embedded_at_a_deadline_are_not_embedded_again(
    serve: Serve, tmp_path: Path, low: bytes
) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(f"label {number}" for number in range(4 * PROMPTS_AT_ONCE)))
    embedder = SpectralEmbedder()
    embedder.text_delay_s = 0.4
    client = serve(embedder, default_labels=file)
    statuses: list[int] = []
    while 200 not in statuses and len(statuses) < 10:
        statuses.append(client.post("/", content=low, headers={"X-Deadline-Ms": "1000"}).status_code)
    assert statuses[0] == 504
    assert statuses[-1] == 200


def test_without_labels_the_best_five_of_the_default_labels(serve: Serve, tmp_path: Path, low: bytes) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("a\nb\n\nc\nd\nmiddle\nlow\n")
    client = serve(default_labels=file)
    found = labels(client.post("/", content=low))
    assert (len(found), found[0]) == (5, "low")
    assert len(labels(client.post("/", params={"top_k": 6}, content=low))) == 6


def test_default_labels_may_be_a_label_set(serve: Serve, tmp_path: Path, low: bytes) -> None:
    file = tmp_path / "labels.json"
    file.write_text('{"labels": ["high", {"name": "deep", "prompts": ["low"]}], "template": "a {label}"}')
    assert labels(serve(default_labels=file).post("/", content=low)) == ["deep", "high"]


@pytest.mark.parametrize("content", [b"", b"a\na\n", b'{"labels": []}', b'{"labels"', b"\xff\xfea", b" "])
def test_default_labels_that_cannot_be_used_are_reported_at_the_start(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_bytes(content)
    for path in (file, tmp_path / "missing"):
        with pytest.raises(SettingsError, match="default labels"):
            read_default_labels(Settings(default_labels=path))


def test_the_bundled_labels_are_the_classes_of_audioset() -> None:
    names = BUNDLED.read_text().splitlines()
    assert len(names) == len(set(names)) == 527
    assert {"crow", "dog barking", "rain", "a man speaking", "vacuum cleaner"} <= set(names)


# The JavaScript client

IN_NODE = """
import { InferenceClient } from "@huggingface/inference";
import { readFileSync } from "node:fs";
const audio = new Blob([readFileSync(process.env.CROW)], { type: "audio/flac" });
const parameters = { candidate_labels: ["dog", "crow", "piano"], hypothesis_template: "the sound of a {}" };
const endpoint = new InferenceClient().endpoint(process.env.ENDPOINT);
const refused = await endpoint
  .audioClassification({ inputs: new Blob([]) })
  .catch((error) => ({ message: error.message, status: error.httpResponse?.status, body: error.httpResponse?.body }));
console.log(JSON.stringify({
  classified: await endpoint.audioClassification({ inputs: audio }),
  zeroShot: await endpoint.zeroShotImageClassification({ inputs: { image: audio }, parameters }),
  refused,
}));
"""


def test_the_javascript_client_classifies(endpoint: str) -> None:
    answer = node.run(IN_NODE, "@huggingface/inference", CROW=str(CROW), ENDPOINT=f"{endpoint}/hf")
    assert answer["classified"][0]["label"] in ("crow", "crow cawing")
    assert len(answer["classified"]) == 5
    assert answer["zeroShot"][0]["label"] == "crow"
    assert len(answer["zeroShot"]) == 3
    assert answer["refused"]["status"] == 422
    assert "no clip was sent" in json.dumps(answer["refused"])
