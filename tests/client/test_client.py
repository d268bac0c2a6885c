"""The Python client against the real service: what it sends is understood, what comes back is typed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
from anysound_client import (
    AsyncClient,
    Audio,
    Client,
    ConnectionFailed,
    InvalidRequest,
    Label,
    PreconditionFailed,
    UnknownLabelSet,
    UnsupportedAudio,
    to_pandas,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
CROW = EXAMPLES / "crow.flac"
LABELS = ["crow", "drums", "a choir singing", "a person speaking"]
HEARD = {"crow.flac": "crow", "drums.flac": "drums", "choir.flac": "a choir singing", "speech.wav": "a person speaking"}


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


def test_a_recording_gets_a_score_for_each_label_best_first(client: Client) -> None:
    answer = client.classify(CROW, LABELS)
    assert answer.model == "anysound-small"
    assert answer.result.name == "crow.flac"
    assert answer.result.scores[0] == answer.result.best
    assert answer.result.best.label == "crow"
    assert sum(score.score for score in answer.result.scores) == pytest.approx(1, abs=1e-4)
    assert answer.result["drums"].score < answer.result["crow"].score


@pytest.mark.parametrize("kind", ["str", "path", "bytes", "file", "stream"])
def test_a_recording_may_be_a_path_bytes_or_an_open_file(client: Client, kind: str) -> None:
    data = CROW.read_bytes()
    with CROW.open("rb") as file:
        given = {"str": str(CROW), "path": CROW, "bytes": data, "file": file, "stream": io.BytesIO(data)}[kind]
        assert client.classify(given, LABELS).result.best.label == "crow"  # type: ignore[arg-type]


@pytest.mark.parametrize(("dtype", "shape"), [("float32", "mono"), ("int16", "mono"), ("float64", "stereo")])
def test_an_array_scores_as_its_file(client: Client, dtype: str, shape: str) -> None:
    samples, rate = soundfile.read(CROW, dtype=dtype, always_2d=True)
    mono = samples[:, 0]
    array = mono if shape == "mono" else np.stack([mono, mono], axis=1)
    given_as: list[Audio] = [CROW, (array, rate)]
    scores = [client.classify(given, LABELS).result["crow"].score for given in given_as]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_several_recordings_are_one_request(client: Client) -> None:
    answer = client.classify([EXAMPLES / name for name in HEARD], LABELS)
    assert {result.name: result.best.label for result in answer.results} == HEARD


def test_one_that_cannot_be_read_has_its_error_and_the_others_have_scores(client: Client) -> None:
    bad, good = client.classify([b"no audio at all", CROW], LABELS).results
    assert isinstance(bad.error, UnsupportedAudio)
    assert good.best.label == "crow"
    with pytest.raises(UnsupportedAudio):
        _ = bad.best


def test_windows_and_the_open_set_score_are_typed(client: Client) -> None:
    result = client.classify(CROW, LABELS, timeline=True, none_of_these=True, top_k=2).result
    assert result.timeline[0].start_s == 0
    assert len(result.timeline[0].scores) == len(result.scores) == 2
    assert result.none_of_these is not None
    assert 0 <= result.none_of_these <= 1


def test_a_label_may_have_prompts_of_its_own(client: Client) -> None:
    labels: list[str | Label] = [Label("bird", ["a crow cawing"], ["a songbird singing"]), "drums"]
    assert client.classify(CROW, labels).result.best.label == "bird"


def test_a_fault_of_the_caller_is_an_exception_by_its_code(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="softmax over one label") as caught:
        client.classify(CROW, ["crow"])
    assert caught.value.status == 422
    assert caught.value.request_id
    with pytest.raises(UnsupportedAudio):
        client.classify(b"no audio at all", LABELS)


def test_what_cannot_be_sent_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(TypeError, match="not a string"):
        client.classify(CROW, "crow")
    with pytest.raises(ValueError, match="either labels or label_set"):
        client.classify(CROW)
    with pytest.raises(FileNotFoundError):
        client.classify("no such file", LABELS)


def test_label_sets_are_registered_used_changed_and_removed(client: Client) -> None:
    made = client.put_label_set("from-the-client", ["crow", Label("beat", ["drums"])])
    assert made.labels == (Label("crow", (), ()), Label("beat", ("drums",), ()))
    assert client.classify(EXAMPLES / "drums.flac", label_set="from-the-client").result.best.label == "beat"
    assert client.get_label_set("from-the-client") == made
    assert any(each.id == "from-the-client" and each.labels == 2 for each in client.list_label_sets())
    with pytest.raises(PreconditionFailed):
        client.put_label_set("from-the-client", ["crow"], if_match='"another"')
    client.delete_label_set("from-the-client", if_match=made.etag)
    with pytest.raises(UnknownLabelSet):
        client.get_label_set("from-the-client")


def test_a_label_learns_from_examples_in_a_request_and_in_a_set(client: Client) -> None:
    samples, rate = soundfile.read(EXAMPLES / "burp.flac")
    burps: list[Audio] = [EXAMPLES / "burp.flac", (EXAMPLES / "burp.flac").read_bytes(), (samples, rate)]
    labels: list[str | Label] = ["crow", Label('number "7"', examples=burps)]
    plain = client.classify(EXAMPLES / "burp.flac", ["crow", 'number "7"']).result
    taught = client.classify(EXAMPLES / "burp.flac", labels).result
    assert taught['number "7"'].similarity > plain['number "7"'].similarity + 0.05
    made = client.put_label_set("taught", labels, template="a sound of {label}")
    assert (made.examples, made.fingerprint) == ({'number "7"': 3}, client.model().fingerprint)
    assert client.get_label_set("taught") == made
    assert client.classify(EXAMPLES / "burp.flac", label_set="taught").result.best.label == 'number "7"'
    with pytest.raises(UnsupportedAudio, match=r"labels\.1\.examples\.0 \(label 'odd'\)"):
        client.classify(CROW, ["crow", Label("odd", examples=[b"no audio"])])
    client.delete_label_set("taught")


def test_embeddings_of_texts_and_recordings_share_a_space(client: Client) -> None:
    texts = client.embed_texts(["this is a sound of crow", "this is a sound of drums"]).to_numpy()
    [crow] = client.embed_audio(CROW).to_numpy()
    assert np.linalg.norm(crow) == pytest.approx(1, abs=1e-3)
    assert crow @ texts[0] > crow @ texts[1]


def test_the_model_says_what_it_is(client: Client) -> None:
    model = client.model()
    assert model.name == "anysound-small"
    assert model.limits["max_clips"] == 32
    assert client.ready()


def test_many_recordings_come_back_in_their_order_and_one_bad_one_costs_one(client: Client) -> None:
    sources: list[Audio] = [*(EXAMPLES / name for name in HEARD), b"no audio", EXAMPLES / "missing.wav"] * 3
    items = list(client.classify_many(sources, LABELS, concurrency=4))
    assert [item.source for item in items] == sources
    labels = [item.result.best.label if item.result else type(item.error).__name__ for item in items]
    assert labels == [*HEARD.values(), "UnsupportedAudio", "FileNotFoundError"] * 3


def test_many_recordings_are_read_only_a_little_ahead(client: Client) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield CROW

    items = client.classify_many(endless(), LABELS, concurrency=2)
    assert next(items).result
    assert taken == 4
    items.close()  # type: ignore[attr-defined]


def test_answers_become_a_table(client: Client) -> None:
    table = to_pandas(client.classify_many([CROW, b"no audio"], LABELS))
    assert isinstance(table, pandas.DataFrame)
    assert len(table) == len(LABELS) + 1
    best = table[table["rank"] == 1].iloc[0]
    assert (best["label"], best["error"]) == ("crow", None) or best.isna()["error"]
    assert "not audio" in table["error"].dropna().iloc[0]


async def test_the_asynchronous_client_does_the_same(address: str) -> None:
    async with AsyncClient(address) as client:
        assert (await client.classify(CROW, LABELS)).result.best.label == "crow"
        sources = [EXAMPLES / name for name in HEARD] + [b"no audio"]
        items = [item async for item in client.classify_many(sources, LABELS, concurrency=2)]
        assert [item.result.best.label for item in items if item.result] == list(HEARD.values())
        assert isinstance(items[-1].error, UnsupportedAudio)
        assert (await client.model()).name == "anysound-small"


def test_a_service_that_is_not_there_is_named() -> None:
    with Client("http://127.0.0.1:9", retries=0) as client:
        assert not client.ready()
        with pytest.raises(ConnectionFailed):
            client.model()
