"""The door for OpenAI's clients: `POST /v1/embeddings`, `GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import openai
import pytest
from openai import OpenAI
from starlette.testclient import TestClient

from model.checkpoint import fingerprint
from model.config import BUNDLED
from service.ipc.embedding import Vectors
from tests import node
from tests.conftest import ROOT
from tests.service.api.test_routes import b64, problem
from tests.service.spectral import DIM, SpectralEmbedder, meaning, spectra, tone

CROW = ROOT / "examples" / "crow.flac"
URI = "data:audio/flac;base64," + b64(CROW.read_bytes())
TEXTS = ["a crow cawing", "a dog barking"]
SPECTRAL = "spectral@" + "ab" * 32


@pytest.fixture(scope="module")
def openai_client(address: str) -> OpenAI:
    return OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def unit(rows: Any) -> Vectors:
    """Embeddings as an array [n, d], after a check that they are normalised."""
    array = np.asarray(rows, np.float32)
    assert np.linalg.norm(array, axis=1) == pytest.approx(1, abs=1e-3)
    return array


# The Python client


@pytest.mark.parametrize("chosen", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}], ids=str)
def test_the_python_client_embeds_texts_and_recordings_in_one_space(
    openai_client: OpenAI, chosen: dict[str, Any]
) -> None:
    texts = openai_client.embeddings.create(model="clap", input=TEXTS, user="somebody", dimensions=512, **chosen)
    audio = openai_client.embeddings.create(model="clap", input=URI, **chosen)
    both = openai_client.embeddings.create(model="clap", input=[TEXTS[0], URI, TEXTS[1]], **chosen)
    rows: list[Any] = [row.embedding for answer in (texts, audio, both) for row in answer.data]
    if chosen.get("encoding_format") == "base64":  # asked for by its caller, the client passes it on
        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]
    crow_text, dog_text, crow, *again = unit(rows)
    assert crow_text @ crow > dog_text @ crow
    assert np.allclose([crow_text, crow, dog_text], again, atol=1e-3)
    assert [row.index for row in both.data] == [0, 1, 2]
    assert texts.usage.total_tokens == texts.usage.prompt_tokens == 6
    assert audio.usage.total_tokens == 1


def test_the_python_client_takes_bare_base64_with_the_modality(openai_client: OpenAI) -> None:
    bare = URI.partition(",")[2]
    [row] = openai_client.embeddings.create(model="clap", input=bare, extra_body={"modality": "audio"}).data
    [same] = openai_client.embeddings.create(model="clap", input=URI).data
    assert np.allclose(row.embedding, same.embedding, atol=1e-3)


def test_the_python_client_lists_and_retrieves_the_model(openai_client: OpenAI) -> None:
    [listed] = openai_client.models.list().data
    embedded = openai_client.embeddings.create(model=listed.id, input="a crow")
    assert embedded.model == f"{listed.id}@{fingerprint(BUNDLED)}"
    for name in (listed.id, embedded.model):
        assert openai_client.models.retrieve(name).id == listed.id
    with pytest.raises(openai.NotFoundError, match="'gpt-4' is not served here"):
        openai_client.models.retrieve("gpt-4")


def test_the_python_client_shows_why_a_request_is_refused(openai_client: OpenAI) -> None:
    create = openai_client.embeddings.create
    with pytest.raises(openai.UnprocessableEntityError, match="embeddings of this checkpoint have 512"):
        create(model="clap", input="a", dimensions=256)
    with pytest.raises(openai.UnprocessableEntityError, match="token ids are not taken"):
        create(model="clap", input=[[1, 2, 3]])
    with pytest.raises(openai.NotFoundError, match="anysound-small@") as refused:
        create(model="laion/clap-htsat-unfused", input="a")
    assert refused.value.code == "not_found"
    with pytest.raises(openai.APIStatusError, match="audio"):
        create(model="clap", input="data:audio/wav;base64,UklGRg==")


# The Node client

IN_NODE = """
import OpenAI from "openai";
import { readFileSync } from "node:fs";
const uri = "data:audio/flac;base64," + readFileSync(process.env.CROW).toString("base64");
const client = new OpenAI({ baseURL: process.env.ADDRESS + "/v1", apiKey: "none", maxRetries: 0 });
const input = ["a crow cawing", uri];
const byDefault = await client.embeddings.create({ model: "clap", input, user: "somebody" });
const floats = await client.embeddings.create({ model: "clap", input, encoding_format: "float", dimensions: 512 });
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const retrieved = await client.models.retrieve(byDefault.model);
const refused = await client.embeddings
  .create({ model: "clap", input: "a", dimensions: 7 })
  .catch(({ message, status, code }) => ({ message, status, code }));
console.log(JSON.stringify({ byDefault, floats, models, retrieved: retrieved.id, refused }));
"""


def test_the_node_client_gets_the_same(address: str) -> None:
    answer = node.run(IN_NODE, "openai", ADDRESS=address, CROW=str(CROW))
    by_default, floats = (unit([row["embedding"] for row in answer[way]["data"]]) for way in ("byDefault", "floats"))
    assert by_default.shape == (2, 512)
    assert np.allclose(by_default, floats, atol=1e-3)
    assert answer["models"] == [answer["retrieved"]] == ["anysound-small"]
    assert answer["refused"]["status"] == 422
    assert answer["refused"]["code"] == "invalid_request"
    assert "embeddings of this checkpoint have 512" in answer["refused"]["message"]


# The route


def test_texts_and_recordings_in_one_request(client: TestClient, low: bytes) -> None:
    uri = f"data:audio/wav;base64,{b64(low)}"
    body = client.post("/v1/embeddings", json={"input": ["rain", uri, "low", uri]}).json()
    expected = [meaning("rain"), spectra(tone(200)[np.newaxis])[0], meaning("low"), spectra(tone(200)[np.newaxis])[0]]
    assert unit([row["embedding"] for row in body["data"]]) == pytest.approx(np.stack(expected), abs=1e-3)
    assert body["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


def test_a_data_uri_is_text_where_the_modality_says_so(client: TestClient) -> None:
    body = client.post("/v1/embeddings", json={"input": "data:audio/wav;base64,AA", "modality": "text"})
    assert body.status_code == 200


def test_the_position_of_a_bad_recording_is_named(client: TestClient, low: bytes) -> None:
    uris = [f"data:audio/wav;base64,{b64(data)}" for data in (low, b"not a sound")]
    answer = client.post("/v1/embeddings", json={"input": ["rain", *uris]})
    assert problem(answer) == (415, "unsupported_audio")
    assert answer.json()["error"]["message"] == answer.json()["detail"]
    assert answer.json()["detail"].startswith("input.2: ")


@pytest.mark.parametrize("name", [None, "spectral", "ab" * 32, SPECTRAL, "text-embedding-3-small", "clap", ""])
def test_the_name_of_the_model_may_be_any_that_is_of_no_other_checkpoint(name: str | None, client: TestClient) -> None:
    body = client.post("/v1/embeddings", json={"input": "low", "model": name}).json()
    assert body["model"] == SPECTRAL


@pytest.mark.parametrize("name", ["cd" * 32, "spectral@" + "cd" * 32, "laion/clap-htsat-unfused"])
def test_another_checkpoint_is_refused(name: str, client: TestClient) -> None:
    answer = client.post("/v1/embeddings", json={"input": "low", "model": name})
    assert problem(answer) == (404, "not_found")
    assert SPECTRAL in answer.json()["detail"]


def test_dimensions_are_the_checkpoints_own(client: TestClient) -> None:
    assert client.post("/v1/embeddings", json={"input": "low", "dimensions": DIM}).status_code == 200
    answer = client.post("/v1/embeddings", json={"input": "low", "dimensions": DIM - 1})
    assert problem(answer) == (422, "invalid_request")


def test_the_list_of_models_holds_the_model_card(client: TestClient) -> None:
    body = client.get("/v1/models").json()
    [entry] = body["data"]
    assert body["object"] == "list"
    assert (entry["id"], entry["object"]) == ("spectral", "model")
    assert entry.items() >= client.get("/v1/model").json().items()
    for name in ("spectral", SPECTRAL, "ab" * 32):
        assert client.get(f"/v1/models/{name}").json() == entry
    assert problem(client.get("/v1/models/other/name")) == (404, "not_found")


def test_models_wait_for_a_worker(client: TestClient, embedder: SpectralEmbedder) -> None:
    embedder.ready = False
    for path in ("/v1/models", "/v1/models/spectral"):
        assert problem(client.get(path)) == (503, "not_ready")
    assert problem(client.post("/v1/embeddings", json={"input": "low"})) == (503, "not_ready")
