"""The contract's answers, in every encoding."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from service.ipc.embedding import Overloaded, Priority, RejectedItem, Vectors, WorkerUnavailable
from tests.service.conftest import Serve, encoded
from tests.service.spectral import CONFIG, RATE, SpectralEmbedder, meaning, spectra, tone


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def form(client: TestClient, clip: bytes, **fields: object) -> Response:
    return client.post("/v1/classify", files={"audio": ("clip", clip)}, data=fields)


def document(client: TestClient, clip: bytes, **fields: object) -> Response:
    return client.post("/v1/classify", json={"audio": [{"data": b64(clip), "name": "clip"}], **fields})


def bare(client: TestClient, clip: bytes, **fields: str | list[str]) -> Response:
    return client.post("/v1/classify", params=fields, content=clip, headers={"Content-Type": "audio/wav"})


Send = Callable[..., Response]
ENCODINGS = pytest.mark.parametrize("send", [form, document, bare])


def problem(answer: Response) -> tuple[int, str]:
    """Status and code, of a well-formed problem document."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body.keys() - {"error"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert ("error" in body) == answer.url.path.startswith(("/v1/embeddings", "/v1/models"))
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["detail"]
    return answer.status_code, body["code"]


# POST /v1/classify


@ENCODINGS
def test_a_clip_gets_the_right_label_first(send: Send, client: TestClient, low: bytes) -> None:
    answer = send(client, low, labels=["high", "low"])
    assert answer.status_code == 200
    body = answer.json()
    assert body["model"] == {"name": "spectral", "fingerprint": "ab" * 32}
    assert body["activation"] == "softmax"
    assert body["template"] == CONFIG.prompts.template
    [result] = body["results"]
    assert result["duration_s"] == 1.0
    assert [score["label"] for score in result["scores"]] == ["low", "high"]
    assert sum(score["score"] for score in result["scores"]) == pytest.approx(1)
    assert result.keys() == {"name", "duration_s", "scores"}


@ENCODINGS
def test_every_field_is_taken_in_every_encoding(send: Send, client: TestClient, low_then_high: bytes) -> None:
    fields = {"template": "a {label} tone", "activation": "sigmoid", "top_k": "1"}
    answer = send(client, low_then_high, labels=["low", "high"], timeline="true", none_of_these="true", **fields)
    assert answer.status_code == 200
    body = answer.json()
    assert body["activation"] == "sigmoid"
    assert body["template"] == "a {label} tone"
    [result] = body["results"]
    assert len(result["scores"]) == 1
    assert 0 <= result["none_of_these"] <= 1
    times = [(window["start_s"], window["end_s"]) for window in result["timeline"]]
    assert times == [(0, 1), (1, 2), (1.5, 2.5)]
    assert [window["scores"][0]["label"] for window in result["timeline"]] == ["low", "high", "high"]


@ENCODINGS
def test_all_encodings_give_the_same_scores(send: Send, client: TestClient, low: bytes) -> None:
    labels = ["low", "high", "rain"]
    assert (
        send(client, low, labels=labels).json()["results"][0]["scores"]
        == (form(client, low, labels=labels).json()["results"][0]["scores"])
    )


def test_similarity_is_the_cosine(client: TestClient, low: bytes) -> None:
    scores = form(client, low, labels=["low", "rain"]).json()["results"][0]["scores"]
    audio = spectra(tone(200)[np.newaxis])[0]
    for score in scores:
        assert score["similarity"] == pytest.approx(float(audio @ meaning(f"the sound of {score['label']}")), abs=1e-3)


def test_softmax_is_over_scale_times_similarity(client: TestClient, low: bytes) -> None:
    scores = form(client, low, labels=["low", "rain", "wind"]).json()["results"][0]["scores"]
    weights = np.exp([20.0 * score["similarity"] for score in scores])
    assert [score["score"] for score in scores] == pytest.approx((weights / weights.sum()).tolist())


def test_sigmoid_puts_an_unrelated_label_near_zero(client: TestClient, low: bytes) -> None:
    scores = form(client, low, labels=["low", "high"], activation="sigmoid").json()["results"][0]["scores"]
    assert scores[0]["score"] > 0.9
    assert scores[1]["score"] < 0.5


def test_none_of_these_is_high_where_no_label_fits(client: TestClient, low: bytes) -> None:
    background, fitting = (
        form(client, low, labels=labels, none_of_these=True).json()["results"][0]["none_of_these"]
        for labels in (["high"], ["low"])
    )
    assert fitting < 0.1 < background


def test_labels_may_be_one_json_list_of_strings_and_objects(client: TestClient, low: bytes) -> None:
    labels = ["high", {"name": "bass", "prompts": ["a low tone"], "negative_prompts": ["a high tone"]}]
    for answer in (
        form(client, low, labels=json.dumps(labels)),
        bare(client, low, labels=json.dumps(labels)),
        document(client, low, labels=labels),
    ):
        assert answer.json()["results"][0]["scores"][0]["label"] == "bass"


def test_prompts_of_a_label_are_used_as_they_stand(client: TestClient, embedder: SpectralEmbedder, low: bytes) -> None:
    document(client, low, labels=[{"name": "x", "prompts": ["hum {label}"]}, "plain one"])
    assert {"hum {label}", "the sound of plain one"} <= set(embedder.prompts)


def test_a_negative_prompt_takes_score_from_its_label(client: TestClient, low: bytes) -> None:
    def score(**label: object) -> float:
        labels = [{"name": "tone", "prompts": ["low"], **label}, "rain"]
        rows = document(client, low, labels=labels, activation="sigmoid").json()["results"][0]["scores"]
        return float(next(row["score"] for row in rows if row["label"] == "tone"))

    assert score(negative_prompts=["another low tone"]) < score(negative_prompts=["high"]) <= score()


@pytest.mark.parametrize(
    "label", ["{0.__class__}", "{:>300000000}", "{label}", "%s%n", "狗叫", "🐕", "dog, cat", "[dog]", '["dog"', "a\nb"]
)
@ENCODINGS
def test_any_text_is_a_plain_label(
    send: Send, label: str, client: TestClient, embedder: SpectralEmbedder, low: bytes
) -> None:
    answer = send(client, low, labels=[label, f"not {label}"])
    assert answer.status_code == 200
    assert {score["label"] for score in answer.json()["results"][0]["scores"]} == {label, f"not {label}"}


def test_a_single_bracketed_label_that_is_no_json_is_plain_text(client: TestClient, low: bytes) -> None:
    answer = form(client, low, labels="[dog]", activation="sigmoid")
    assert answer.json()["results"][0]["scores"][0]["label"] == "[dog]"


def test_one_label_is_served_with_sigmoid(client: TestClient, low: bytes) -> None:
    assert form(client, low, labels="low", activation="sigmoid").status_code == 200


def test_one_label_is_served_with_softmax_and_none_of_these(client: TestClient, low: bytes) -> None:
    [result] = form(client, low, labels="low", none_of_these=True).json()["results"]
    assert result["scores"][0]["score"] + result["none_of_these"] == pytest.approx(1)


def test_several_clips_keep_their_names_and_order(client: TestClient, low: bytes, high: bytes) -> None:
    files = [("audio", ("b.wav", high)), ("audio", ("a.wav", low))]
    results = client.post("/v1/classify", files=files, data={"labels": ["low", "high"]}).json()["results"]
    assert [result["name"] for result in results] == ["b.wav", "a.wav"]
    assert [result["scores"][0]["label"] for result in results] == ["high", "low"]


def test_one_json_clip_needs_no_list_and_no_name(client: TestClient, low: bytes) -> None:
    answer = client.post("/v1/classify", json={"audio": {"data": b64(low)}, "labels": ["low", "high"]})
    assert answer.status_code == 200
    assert answer.json()["results"][0]["name"]


@pytest.mark.parametrize("media_type", ["audio/wav", "audio/x-whatever", "application/octet-stream"])
def test_a_bare_body_is_recognised_by_its_bytes(media_type: str, client: TestClient, low: bytes) -> None:
    answer = client.post(
        "/v1/classify?labels=low&labels=high", content=low, headers={"Content-Type": f"{media_type}; x=y"}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_channels_and_formats_do_not_change_the_scores(
    kind: str, channels: int, client: TestClient, low: bytes
) -> None:
    copies = np.repeat(tone(200)[:, np.newaxis], channels, axis=1)
    labels = ["low", "high", "rain"]
    mono = form(client, low, labels=labels).json()["results"][0]["scores"]
    other = form(client, encoded(copies, kind), labels=labels).json()["results"][0]["scores"]
    assert [row["similarity"] for row in other] == pytest.approx([row["similarity"] for row in mono], abs=1e-5)


@pytest.mark.parametrize("samples", [np.full(1, 0.5), np.zeros(RATE)], ids=["one sample", "silence"])
def test_odd_but_real_audio_is_served(samples: Vectors, client: TestClient) -> None:
    answer = form(client, encoded(samples.astype(np.float32)), labels=["low", "high"])
    assert answer.status_code == 200


def test_a_bad_clip_costs_only_its_own_scores(client: TestClient, low: bytes) -> None:
    files = [("audio", ("notes.txt", b"not a sound")), ("audio", ("a.wav", low))]
    answer = client.post("/v1/classify", files=files, data={"labels": ["low", "high"]})
    assert answer.status_code == 200
    bad, good = answer.json()["results"]
    assert bad.keys() == {"name", "error"}
    assert bad["name"] == "notes.txt"
    assert bad["error"]["code"] == "unsupported_audio"
    assert bad["error"].keys() == {"code", "detail"}
    assert good["scores"][0]["label"] == "low"


def test_where_every_clip_failed_the_request_has_the_commonest_code(client: TestClient) -> None:
    long = encoded(np.zeros(31 * RATE, np.float32), "FLAC")
    files = [("audio", ("long.flac", long)), ("audio", ("a", b"x")), ("audio", ("b", b"y"))]
    answer = client.post("/v1/classify", files=files, data={"labels": ["low", "high"]})
    assert problem(answer) == (415, "unsupported_audio")


def test_a_clip_the_model_fails_on_is_that_clips_error(
    client: TestClient, embedder: SpectralEmbedder, low: bytes
) -> None:
    embedder.audio_failure = RejectedItem("NaN in layer 3")
    answer = form(client, low, labels=["low", "high"])
    assert problem(answer) == (415, "unsupported_audio")
    assert "layer" not in answer.text


def test_an_overloaded_worker_is_503_with_retry_after(
    client: TestClient, embedder: SpectralEmbedder, low: bytes
) -> None:
    embedder.reservation_failure = Overloaded("full", retry_after_s=6.2)
    for clips in (1, 2):  # a single window asks for room by being sent
        files = [("audio", ("clip", low))] * clips
        answer = client.post("/v1/classify", files=files, data={"labels": ["low", "high"]})
        assert problem(answer) == (503, "overloaded")
        assert answer.headers["retry-after"] == "7"


def test_what_would_be_refused_is_refused_before_its_body_is_read(
    client: TestClient, embedder: SpectralEmbedder
) -> None:
    embedder.admission_failure = Overloaded("full", retry_after_s=0.2)
    answer = client.post("/v1/classify", content=b"{", headers={"content-type": "application/json"})
    assert problem(answer) == (503, "overloaded"), "the body, which is no JSON, was not looked at"
    assert answer.headers["retry-after"] == "1"
    assert embedder.reserved == 0


def test_a_worker_that_died_is_503_with_retry_after(client: TestClient, embedder: SpectralEmbedder, low: bytes) -> None:
    embedder.audio_failure = WorkerUnavailable("gone", retry_after_s=0.1)
    answer = form(client, low, labels=["low", "high"])
    assert problem(answer) == (503, "not_ready")
    assert answer.headers["retry-after"] == "1"


def test_before_the_worker_is_warm_a_request_is_not_ready(
    client: TestClient, embedder: SpectralEmbedder, low: bytes
) -> None:
    embedder.ready = False
    answer = form(client, low, labels=["low", "high"])
    assert problem(answer) == (503, "not_ready")
    assert "retry-after" in answer.headers


def test_a_passed_deadline_is_504(client: TestClient, embedder: SpectralEmbedder, low: bytes) -> None:
    embedder.audio_delay_s = 5
    headers = {"X-Deadline-Ms": "100"}
    answer = client.post("/v1/classify", files={"audio": ("a", low)}, data={"labels": ["low", "high"]}, headers=headers)
    assert problem(answer) == (504, "deadline_exceeded")


def test_a_passed_deadline_of_texts_is_504(client: TestClient, embedder: SpectralEmbedder) -> None:
    embedder.text_delay_s = 5
    answer = client.post("/v1/embeddings", json={"input": "never asked before"}, headers={"X-Deadline-Ms": "100"})
    assert problem(answer) == (504, "deadline_exceeded")


def test_priority_reaches_the_worker(client: TestClient, embedder: SpectralEmbedder, low: bytes) -> None:
    headers = {"X-Priority": "bulk"}
    client.post("/v1/classify", files={"audio": ("a", low)}, data={"labels": ["low", "high"]}, headers=headers)
    assert set(embedder.priorities) == {Priority.BULK}


@pytest.mark.parametrize("header", [{"X-Priority": "urgent"}, {"X-Deadline-Ms": "soon"}, {"X-Deadline-Ms": "0"}])
def test_headers_that_make_no_sense_are_refused(header: dict[str, str], client: TestClient, low: bytes) -> None:
    answer = client.post("/v1/classify", files={"audio": ("a", low)}, data={"labels": ["low", "high"]}, headers=header)
    assert problem(answer) == (422, "invalid_request")


# POST /v1/embeddings


def test_texts_are_embedded_in_the_openai_shape(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", json={"input": ["low", "rain"]})
    assert answer.status_code == 200
    body = answer.json()
    assert body["object"] == "list"
    assert body["model"] == "spectral@" + "ab" * 32
    assert [row["index"] for row in body["data"]] == [0, 1]
    assert {row["object"] for row in body["data"]} == {"embedding"}
    assert body["data"][1]["embedding"] == pytest.approx(meaning("rain").tolist(), abs=1e-3)


def test_a_single_text_is_a_list_of_one(client: TestClient) -> None:
    assert len(client.post("/v1/embeddings", json={"input": "low"}).json()["data"]) == 1


def test_embeddings_may_come_as_base64_floats(client: TestClient) -> None:
    body = client.post("/v1/embeddings", json={"input": "rain", "encoding_format": "base64"}).json()
    vector = np.frombuffer(base64.b64decode(body["data"][0]["embedding"]), "<f4")
    assert vector == pytest.approx(meaning("rain"), abs=1e-3)


def test_recordings_are_embedded(client: TestClient, low: bytes) -> None:
    answer = client.post("/v1/embeddings", json={"input": [b64(low)], "modality": "audio"})
    assert answer.status_code == 200
    assert answer.json()["data"][0]["embedding"] == pytest.approx(spectra(tone(200)[np.newaxis])[0].tolist(), abs=1e-3)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"input": []}, (422, "invalid_request")),
        ({"input": ""}, (422, "invalid_request")),
        ({"input": ["low"] * 101}, (422, "invalid_request")),
        ({"input": "x" * 201}, (422, "invalid_request")),
        ({"input": "low", "modality": "video"}, (422, "invalid_request")),
        ({"input": "low", "other": 1}, (422, "invalid_request")),
        ({}, (422, "invalid_request")),
        ([], (422, "invalid_request")),
        ({"input": "!", "modality": "audio"}, (422, "invalid_request")),
        ({"input": "", "modality": "audio"}, (415, "unsupported_audio")),
        ({"input": b64(b"not a sound"), "modality": "audio"}, (415, "unsupported_audio")),
        ({"input": "\ud800"}, (422, "invalid_request")),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_embedded_is_refused(body: object, expected: tuple[int, str], client: TestClient) -> None:
    answer = client.post("/v1/embeddings", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert problem(answer) == expected


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_body_that_is_no_json_is_refused(content: bytes, client: TestClient) -> None:
    answer = client.post("/v1/embeddings", content=content, headers={"Content-Type": "application/json"})
    assert problem(answer) == (422, "invalid_request")


# The rest


def test_the_model_card_names_front_end_limits_and_template(client: TestClient) -> None:
    card = client.get("/v1/model").json()
    assert card["name"] == "spectral"
    assert card["fingerprint"] == "ab" * 32
    assert card["front_end"]["sample_rate"] == RATE
    assert card["limits"]["max_clips"] == 4
    assert card["template"] == CONFIG.prompts.template


def test_the_model_card_waits_for_a_worker(client: TestClient, embedder: SpectralEmbedder) -> None:
    embedder.ready = False
    assert problem(client.get("/v1/model")) == (503, "not_ready")


def test_probes_say_yes_when_all_is_well(client: TestClient) -> None:
    for probe in ("/livez", "/readyz", "/startupz"):
        assert client.get(probe).status_code == 200


def test_without_a_warm_worker_the_process_is_live_and_not_ready(
    client: TestClient, embedder: SpectralEmbedder
) -> None:
    embedder.ready = False
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 503


def test_a_stuck_worker_is_not_live(client: TestClient, embedder: SpectralEmbedder) -> None:
    embedder.alive = False
    assert client.get("/livez").status_code == 503


def test_an_unknown_route_is_a_problem(client: TestClient) -> None:
    assert problem(client.get("/nothing/here")) == (404, "not_found")


def test_a_wrong_method_is_a_problem_that_names_the_right_one(client: TestClient) -> None:
    answer = client.get("/v1/classify")
    assert problem(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_openapi_shows_three_encodings_with_examples_and_problems(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/v1/classify"]["post"]
    content = operation["requestBody"]["content"]
    assert {"multipart/form-data", "application/json", "audio/*", "application/octet-stream"} <= content.keys()
    assert content["application/json"]["examples"]
    for status in ("401", "404", "413", "415", "422", "429", "500", "503", "504"):
        assert "application/problem+json" in operation["responses"][status]["content"]


def test_the_docs_page_is_served(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert assets, "the page has scripts and styles"
    for asset in assets:  # a path of this service: no CDN
        assert client.get(asset).status_code == 200


def test_an_error_of_ours_is_500_and_says_nothing_of_its_cause(serve: Serve, low: bytes) -> None:
    class Broken(SpectralEmbedder):
        async def embed_audio(self, *_: object, **__: object) -> NoReturn:
            raise ZeroDivisionError("secret in the exception")

    answer = form(serve(Broken()), low, labels=["low", "high"])
    assert problem(answer) == (500, "internal")
    assert "secret" not in answer.text
