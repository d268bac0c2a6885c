"""Labels that come with recordings of their sound, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from model.config import ExampleScale
from model.examples import Prototype
from model.prompts import Embeddings, ensemble
from service.ipc.embedding import Vectors
from tests.service.api.test_routes import b64, bare, document, form, problem
from tests.service.conftest import Serve, encoded
from tests.service.spectral import SpectralEmbedder, meaning, spectra, tone

SCALE = ExampleScale(tau0=0.05, tau1=0.8, a0=0.1, a1=0.9)
INVALID = (422, "invalid_request")


@pytest.fixture
def calibrated(embedder: SpectralEmbedder) -> SpectralEmbedder:
    embedder.scale = SCALE
    return embedder


@pytest.fixture(scope="module")
def hums() -> list[bytes]:
    """Recordings of a sound that no label of these tests names."""
    return [encoded(tone(frequency)) for frequency in (1_530, 1_560, 1_590)]


def json_label(name: str, examples: list[bytes]) -> dict[str, object]:
    return {"name": name, "examples": [{"data": b64(each)} for each in examples]}


def files_of(clip: bytes, **examples: list[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    given = [(f"examples.{name}", ("example.wav", each)) for name, clips in examples.items() for each in clips]
    return [("audio", ("clip.wav", clip)), *given]


def similarities(answer: Response) -> dict[str, float]:
    assert answer.status_code == 200, answer.text
    return {row["label"]: row["similarity"] for row in answer.json()["results"][0]["scores"]}


def embedding(samples: Vectors) -> Embeddings:
    """The embedding of a tone as the service computes it."""
    stored = np.clip(np.round(samples * 32_768), -32_768, 32_767).astype(np.float32) / 32_768  # 16-bit WAV
    return ensemble(spectra(stored[np.newaxis].astype(np.float32)))


# Three ways to send them


@pytest.mark.usefixtures("calibrated")
def test_a_label_whose_word_says_nothing_is_known_by_its_examples(client: TestClient, hums: list[bytes]) -> None:
    hum = encoded(tone(1_580))
    first, last = similarities(document(client, hum, labels=["the fan", "the pump"]))
    answer = document(client, hum, labels=[first, json_label(last, hums)])
    assert next(iter(similarities(answer))) == last


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.usefixtures("calibrated")
def test_the_similarity_is_the_formula(count: int, client: TestClient, hums: list[bytes]) -> None:
    answer = document(client, hums[0], labels=["low", json_label("the pump", hums[:count])])
    vectors = [embedding(tone(frequency)) for frequency in (1_530, 1_560, 1_590)]
    x, t, p = vectors[0], meaning("the sound of the pump"), Prototype.of(np.stack(vectors[:count])).mean
    weight = count / (count + 3)
    wanted = (1 - weight) * (x @ t) + weight * (0.05 + (x @ p - 0.1) * 0.75 / 0.8)
    assert similarities(answer)["the pump"] == pytest.approx(float(wanted), abs=2e-3)


@pytest.mark.usefixtures("calibrated")
def test_json_and_forms_give_the_same_scores(client: TestClient, hums: list[bytes], low: bytes) -> None:
    wanted = similarities(document(client, low, labels=["low", json_label("the pump", hums)]))
    as_files = client.post(
        "/v1/classify", files=files_of(low, **{"the pump": hums}), data={"labels": ["low", "the pump"]}
    )
    assert similarities(as_files) == wanted
    some = json_label("the pump", hums[:2])
    mixed = client.post(
        "/v1/classify",
        files=files_of(low, **{"the pump": hums[2:]}),
        data={"labels": json.dumps(["low", some])},
    )
    assert similarities(mixed) == wanted


def test_an_example_may_be_longer_than_a_window(
    client: TestClient, calibrated: SpectralEmbedder, low: bytes, low_then_high: bytes
) -> None:
    rows = similarities(document(client, low, labels=["middle", json_label("siren", [low_then_high])]))
    assert rows["siren"] > rows["middle"]
    assert calibrated.windows == 1 + 3


@pytest.mark.usefixtures("calibrated")
def test_softmax_sigmoid_negative_prompts_and_none_of_these_go_on_from_the_similarity(
    client: TestClient, hums: list[bytes]
) -> None:
    label = json_label("the pump", hums)
    labels = ["low", label]
    plain = document(client, hums[0], labels=labels, none_of_these=True).json()["results"][0]
    scores = {row["label"]: row["score"] for row in plain["scores"]}
    assert sum(scores.values()) + plain["none_of_these"] == pytest.approx(1)
    sigmoid = document(client, hums[0], labels=labels, activation="sigmoid").json()["results"][0]["scores"]
    assert sigmoid[0]["label"] == "the pump"
    assert 0.5 < sigmoid[0]["score"] <= 1
    against = {**label, "negative_prompts": ["the sound of the pump"]}
    lowered = document(client, hums[0], labels=["low", against], none_of_these=True).json()["results"][0]
    assert {row["label"]: row["score"] for row in lowered["scores"]}["the pump"] < scores["the pump"]


# What is refused


@pytest.mark.parametrize("send", [document, bare])
def test_only_some_labels_with_examples_need_a_calibrated_checkpoint(
    send: Callable[..., Response], client: TestClient, low: bytes
) -> None:
    labels = ["low", json_label("the pump", [low])]
    given = labels if send is document else json.dumps(labels)
    if send is bare:
        tiny = encoded(tone(200, 0.01), "FLAC")
        given = json.dumps(["low", json_label("the pump", [tiny])])
    answer = send(client, low, labels=given)
    assert problem(answer) == INVALID
    assert "anysound checkpoint calibrate CHECKPOINT DATA" in answer.json()["detail"]


def test_examples_for_every_label_need_no_calibration_and_some_scores_are_warned_of(
    client: TestClient, low: bytes, high: bytes
) -> None:
    labels = [json_label("one", [low]), json_label("two", [high])]
    answer = document(client, low, labels=labels)
    assert next(iter(similarities(answer))) == "one"
    assert "warnings" not in answer.json()
    for more in ({"activation": "sigmoid"}, {"none_of_these": True}):
        [warning] = document(client, low, labels=labels, **more).json()["warnings"]
        assert "not calibrated for examples" in warning


@pytest.mark.usefixtures("calibrated")
def test_an_example_that_cannot_be_read_is_named_by_label_and_position(client: TestClient, low: bytes) -> None:
    labels = ["low", json_label("the pump", [low, b"no audio", low])]
    answer = document(client, low, labels=labels)
    assert problem(answer) == (415, "unsupported_audio")
    assert answer.json()["detail"].startswith("labels.1.examples.1 (label 'the pump'): ")


def test_examples_are_limited_in_number_for_a_label_and_for_all(
    client: TestClient, serve: Serve, embedder: SpectralEmbedder, low: bytes
) -> None:
    answer = document(client, low, labels=[json_label("a", [low] * 33), "b"])
    assert problem(answer) == INVALID
    assert answer.json()["detail"] == "labels.0.examples: 33 examples, the limit is 32"
    strict = serve(embedder, max_examples=3)
    many = {"a": [low] * 2, "b": [low] * 2}
    for answer in (
        document(strict, low, labels=[json_label(name, clips) for name, clips in many.items()]),
        strict.post("/v1/classify", files=files_of(low, **many), data={"labels": ["a", "b"]}),
    ):
        assert problem(answer) == INVALID
        assert "more than 3" in answer.json()["detail"]
    assert document(strict, low, labels=[json_label("a", [low]), json_label("b", [low])]).status_code == 200


def test_examples_count_towards_the_audio_of_a_request(serve: Serve, low: bytes) -> None:
    client = serve(max_request_audio_seconds=3)
    labels = [json_label("a", [low]), json_label("b", [low])]
    assert document(client, low, labels=labels).status_code == 200
    answer = document(client, low, labels=[*labels, json_label("c", [low])])
    assert problem(answer) == (413, "audio_too_long")


def test_room_is_reserved_for_clips_and_examples(client: TestClient, embedder: SpectralEmbedder, low: bytes) -> None:
    document(client, low, labels=[json_label("a", [low]), json_label("b", [low, low])])
    assert embedder.reserved == 4


def test_examples_are_cached_as_clips_are(serve: Serve, low: bytes, high: bytes) -> None:
    embedder = SpectralEmbedder()
    client = serve(embedder, audio_cache_bytes=1 << 20)
    labels = [json_label("a", [low]), json_label("b", [high])]
    first = document(client, low, labels=labels)
    asked = embedder.windows
    assert similarities(document(client, low, labels=labels)) == similarities(first)
    assert embedder.windows == asked == 2


@pytest.mark.parametrize(
    "examples",
    ["text", {"data": "UklGRg=="}, [1], [{"data": 1}], [{"name": "x"}], [{"data": "??"}], [{"data": "", "more": 1}]],
)
def test_examples_that_make_no_sense_are_refused_by_their_place(
    examples: object, client: TestClient, low: bytes
) -> None:
    answer = document(client, low, labels=["low", {"name": "a", "examples": examples}])
    assert problem(answer) == INVALID
    assert answer.json()["detail"].startswith("labels.1.examples")


def test_no_examples_are_as_none(client: TestClient, low: bytes) -> None:
    plain = similarities(document(client, low, labels=["low", "high"]))
    none: list[object] = [[], None]
    for empty in none:
        assert similarities(document(client, low, labels=["low", {"name": "high", "examples": empty}])) == plain


def test_files_for_a_label_that_is_not_there_are_refused(client: TestClient, low: bytes) -> None:
    answer = client.post("/v1/classify", files=files_of(low, cow=[low]), data={"labels": ["low", "high"]})
    assert problem(answer) == INVALID
    assert answer.json()["detail"] == "examples.cow: no label has this name"
    text = client.post("/v1/classify", files={"audio": ("a", low)}, data={"labels": ["low", "a"], "examples.low": "x"})
    assert problem(text) == INVALID


@pytest.mark.usefixtures("calibrated")
@pytest.mark.parametrize("name", ['the "old" pump', "Türglocke 門鈴", "a.b", "100%22"])
def test_files_find_labels_of_any_name(name: str, client: TestClient, low: bytes, high: bytes) -> None:
    wanted = similarities(document(client, low, labels=["low", json_label(name, [high])]))
    as_files = client.post("/v1/classify", files=files_of(low, **{name: [high]}), data={"labels": ["low", name]})
    assert similarities(as_files) == wanted


def test_a_registered_set_takes_no_examples_from_a_request(client: TestClient, low: bytes) -> None:
    assert client.put("/v1/label-sets/plain", json={"labels": ["low", "high"]}).status_code in (200, 201)
    answer = client.post("/v1/classify", files=files_of(low, low=[low]), data={"label_set": "plain"})
    assert problem(answer) == INVALID
    assert "registered with it" in answer.json()["detail"]


def test_the_model_says_its_constants_and_the_limits_of_examples(
    client: TestClient, embedder: SpectralEmbedder
) -> None:
    assert client.get("/v1/model").json()["example_scale"] is None
    embedder.scale = SCALE
    model = client.get("/v1/model").json()
    assert model["example_scale"] == SCALE.model_dump()
    assert (model["limits"]["max_examples_per_label"], model["limits"]["max_examples"]) == (32, 1_024)


def test_form_fields_stay_as_they_were(client: TestClient, low: bytes) -> None:
    assert form(client, low, labels=["low", "high"]).status_code == 200
    answer = client.post("/v1/classify", files={"other": ("a", low)}, data={"labels": ["low", "high"]})
    assert "an unknown file field" in answer.json()["detail"]
