"""Label sets with examples: what is kept of them, and what is scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from model.examples import Prototype
from model.prompts import Label
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.set_examples import SetExamples
from service.api.problems import Problem
from tests.service.api.test_examples import SCALE, files_of, json_label, similarities
from tests.service.api.test_routes import document, form, problem
from tests.service.conftest import Serve, encoded
from tests.service.redis_server import RedisServer
from tests.service.spectral import SpectralEmbedder, tone

FINGERPRINT = "cd" * 32


def with_examples(*names: str) -> LabelSet:
    vectors = np.eye(8, dtype=np.float32)
    prototypes = {name: Prototype.of(vectors[at : at + 2]) for at, name in enumerate(names)}
    return LabelSet("pumps", (*map(Label, names), Label("quiet")), None, SetExamples(FINGERPRINT, prototypes))


@pytest.fixture
def calibrated(embedder: SpectralEmbedder) -> SpectralEmbedder:
    embedder.scale = SCALE
    return embedder


# The document


def test_prototypes_are_read_as_they_were_written() -> None:
    label_set = with_examples("pump", "fan")
    read = LabelSet.read(label_set.document)
    assert read.document == label_set.document
    assert read.examples is not None
    assert read.examples.prototypes["fan"].count == 2
    assert label_set.examples is not None
    assert (read.examples.prototypes["fan"].mean == label_set.examples.prototypes["fan"].mean).all()


def test_a_set_without_examples_has_the_document_and_etag_of_earlier_versions() -> None:
    stored = b'{"id":"animals","labels":[{"name":"dog","prompts":["a dog"],"negative_prompts":[]}],"template":null}'
    label_set = LabelSet("animals", (Label("dog", ("a dog",)),), None)
    assert label_set.document == stored
    assert label_set.etag == '"28b747552c7f3a051e9726820c586164"'


def test_other_examples_make_another_etag_and_count_as_memory() -> None:
    one, two = with_examples("pump"), with_examples("pump", "fan")
    assert len({one.etag, two.etag, LabelSet(one.id, one.labels, None).etag}) == 3
    assert one.memory_bytes > LabelSet(one.id, one.labels, None).memory_bytes


@pytest.mark.parametrize(
    "prototypes",
    [
        {},
        {"cow": {"count": 1, "mean": "ADwAAA=="}},
        {"dog": {"count": 1, "mean": "ADwAAA=="}, "cat": {"count": 1, "mean": "ADw="}},
        {"dog": {"count": 0, "mean": "ADwAAA=="}},
        {"dog": {"count": 33, "mean": "ADwAAA=="}},
        {"dog": {"count": 1, "mean": "AAAAAA=="}},
        {"dog": {"count": 1, "mean": "AH4AAA=="}},
        {"dog": {"count": 1, "mean": "ADw"}},
        {"dog": {"count": 1, "mean": 1}},
        {"dog": 1},
    ],
)
def test_examples_that_were_not_written_here_are_refused(prototypes: object) -> None:
    document = {
        "id": "a",
        "labels": [{"name": "dog"}, {"name": "cat"}],
        "template": None,
        "examples": {"fingerprint": FINGERPRINT, "prototypes": prototypes},
    }
    with pytest.raises(ValueError, match=r"prototype|examples"):
        LabelSet.read(json.dumps(document).encode())


# Over HTTP


@pytest.mark.usefixtures("calibrated")
def test_a_registered_set_scores_as_examples_that_are_sent(client: TestClient, low: bytes, high: bytes) -> None:
    labels = ["low", json_label("siren", [high, low]), json_label("bell", [high])]
    assert client.put("/v1/label-sets/alarms", json={"labels": labels}).status_code == 201
    for clip in (low, high):
        assert similarities(form(client, clip, label_set="alarms")) == similarities(
            document(client, clip, labels=labels)
        )


@pytest.mark.usefixtures("calibrated")
def test_a_form_registers_files_as_examples(client: TestClient, low: bytes, high: bytes) -> None:
    files = files_of(low, siren=[high, low], bell=[high])[1:]
    data = {"labels": ["low", "siren", "bell"], "template": "a {label}"}
    answer = client.put("/v1/label-sets/alarms-form", files=files, data=data)
    assert answer.status_code == 201, answer.text
    body = {**data, "labels": ["low", json_label("siren", [high, low]), json_label("bell", [high])]}
    assert client.put("/v1/label-sets/alarms-form", json=body).headers["etag"] == answer.headers["etag"]


@pytest.mark.usefixtures("calibrated")
def test_get_shows_how_many_examples_there_are_and_no_audio(client: TestClient, low: bytes, high: bytes) -> None:
    labels = ["low", json_label("siren", [high, low])]
    put = client.put("/v1/label-sets/shown-examples", json={"labels": labels})
    got = client.get("/v1/label-sets/shown-examples")
    assert got.json() == put.json()
    assert got.json()["examples"] == {"fingerprint": "ab" * 32, "counts": {"siren": 2}}
    assert [label["name"] for label in got.json()["labels"]] == ["low", "siren"]


@pytest.mark.usefixtures("calibrated")
def test_what_is_stored_is_no_recording(client: TestClient, serve: Serve, redis_server: RedisServer) -> None:
    embedder = SpectralEmbedder()
    embedder.scale = SCALE
    first, second = serve(embedder, redis_url=redis_server.url), serve(embedder, redis_url=redis_server.url)
    long = encoded(np.concatenate([tone(3_000), tone(200)] * 5))
    assert first.put("/v1/label-sets/a", json={"labels": ["low", json_label("siren", [long])]}).status_code == 201
    asked = embedder.windows
    wanted = similarities(document(client, long, labels=["low", json_label("siren", [long])]))
    assert similarities(form(second, long, label_set="a")) == wanted
    assert embedder.windows == asked + 10  # those of the clip that is scored, none of the example


def test_after_a_change_of_the_checkpoint_the_examples_must_be_registered_again(
    client: TestClient, calibrated: SpectralEmbedder, low: bytes, high: bytes
) -> None:
    body = {"labels": ["low", json_label("siren", [high])]}
    client.put("/v1/label-sets/stale", json=body)
    client.put("/v1/label-sets/words", json={"labels": ["low", "high"]})
    calibrated.fingerprint = "ef" * 32
    answer = form(client, low, label_set="stale")
    assert problem(answer) == (409, "stale_label_set")
    assert "Register the set again, with its examples" in answer.json()["detail"]
    assert form(client, low, label_set="words").status_code == 200
    assert client.put("/v1/label-sets/stale", json=body).status_code == 200
    assert form(client, low, label_set="stale").status_code == 200


def test_examples_of_another_dimension_are_of_another_checkpoint() -> None:
    examples = with_examples("pump").examples
    assert examples is not None
    examples.check(FINGERPRINT, 8)
    for fingerprint, dim in ((FINGERPRINT, 16), ("ef" * 32, 8)):
        with pytest.raises(Problem, match="Register the set again"):
            examples.check(fingerprint, dim)


def test_only_some_labels_with_examples_are_not_registered_without_calibration(client: TestClient, low: bytes) -> None:
    answer = client.put("/v1/label-sets/some", json={"labels": ["low", json_label("siren", [low])]})
    assert problem(answer) == (422, "invalid_request")
    assert "anysound checkpoint calibrate" in answer.json()["detail"]
    assert client.get("/v1/label-sets/some").status_code == 404


@pytest.mark.usefixtures("calibrated")
def test_a_set_with_an_example_that_cannot_be_read_is_not_registered(client: TestClient, low: bytes) -> None:
    files = files_of(low, siren=[low, b"nothing"])[1:]
    answer = client.put("/v1/label-sets/broken", files=files, data={"labels": ["low", "siren"]})
    assert problem(answer) == (415, "unsupported_audio")
    assert answer.json()["detail"].startswith("labels.1.examples.1 (label 'siren')")
    assert client.get("/v1/label-sets/broken").status_code == 404


def test_the_examples_of_a_set_have_their_own_bound_in_seconds(serve: Serve, low: bytes) -> None:
    client = serve(max_request_audio_seconds=1, max_examples_seconds=2)
    labels = [json_label("a", [low]), json_label("b", [low])]
    assert client.put("/v1/label-sets/two", json={"labels": labels}).status_code == 201
    more = [*labels, json_label("c", [low])]
    assert problem(client.put("/v1/label-sets/three", json={"labels": more})) == (413, "audio_too_long")


def test_a_form_of_a_set_takes_no_other_files(client: TestClient, low: bytes) -> None:
    answer = client.put("/v1/label-sets/odd", files={"audio": ("a", low)}, data={"labels": ["a", "b"]})
    assert problem(answer) == (422, "invalid_request")


def test_a_thousand_examples_cost_a_request_nothing(serve: Serve, low: bytes, tmp_path: Path) -> None:
    embedder = SpectralEmbedder()
    client = serve(embedder, audio_cache_bytes=1 << 20)
    short = encoded(tone(200, 0.02))
    labels = [json_label(f"thing {number}", [short] * 32) for number in range(32)]
    assert client.put("/v1/label-sets/thousand", json={"labels": labels}).status_code == 201
    form(client, low, label_set="thousand")
    windows, prompts, reserved = embedder.windows, len(embedder.prompts), embedder.reserved
    for _ in range(3):
        assert form(client, low, label_set="thousand", top_k=3).status_code == 200
    assert (embedder.windows, len(embedder.prompts), embedder.reserved) == (windows, prompts, reserved)
