"""Each call to the service as data: what to send, and how to read the answer. No input or output happens here."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import httpx

from anysound_client.audio import Audio, read
from anysound_client.labels import Labels, example_files, labels_field, labels_to_json
from anysound_client.results import Classification, Embeddings, LabelSet, LabelSetSummary, Model

T = TypeVar("T")
Activation = Literal["softmax", "sigmoid"]
Priority = Literal["interactive", "bulk"]


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and the function that reads its answer. It can be sent more than once."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    content: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def classify(
    audio: Audio | Sequence[Audio],
    labels: Labels | None,
    label_set: str | None,
    template: str | None,
    activation: Activation,
    top_k: int | None,
    timeline: bool,
    none_of_these: bool,
    priority: Priority,
    events: bool = False,
    threshold: float | None = None,
    hop_s: float | None = None,
) -> Call[Classification]:
    """Raises ValueError unless exactly one of `labels` and `label_set` is given, and what `audio.read` raises."""
    if (labels is None) == (label_set is None):
        raise ValueError("give either labels or label_set")
    fields: dict[str, str] = {"activation": activation}
    if labels is not None:
        fields["labels"] = labels_field(labels)
    if label_set is not None:
        fields["label_set"] = label_set
    if template is not None:
        fields["template"] = template
    if top_k is not None:
        fields["top_k"] = str(top_k)
    if timeline:
        fields["timeline"] = "true"
    if none_of_these:
        fields["none_of_these"] = "true"
    if events:
        fields["events"] = "true"
    if threshold is not None:
        fields["threshold"] = str(threshold)
    if hop_s is not None:
        fields["hop_s"] = str(hop_s)
    files = [("audio", recording) for recording in recordings(audio)] + example_files(labels or ())
    return Call(
        "POST",
        "/v1/classify",
        lambda answer: Classification.from_json(answer.json()),
        {"data": fields, "files": files},
        {"X-Priority": priority},
    )


def recordings(audio: Audio | Sequence[Audio]) -> list[tuple[str, bytes]]:
    """Name and bytes of one recording or of several."""
    several = audio if isinstance(audio, list) else [audio]
    return [read(each, position) for position, each in enumerate(several)]


def embed_texts(texts: Sequence[str], priority: Priority) -> Call[Embeddings]:
    """Raises TypeError for a single string."""
    if isinstance(texts, str):
        raise TypeError("texts is a list of texts, not a string")
    return _embeddings({"input": list(texts), "modality": "text"}, priority)


def embed_audio(audio: Audio | Sequence[Audio], priority: Priority) -> Call[Embeddings]:
    encoded = [base64.b64encode(data).decode() for _, data in recordings(audio)]
    return _embeddings({"input": encoded, "modality": "audio"}, priority)


def _embeddings(body: dict[str, Any], priority: Priority) -> Call[Embeddings]:
    return Call(
        "POST",
        "/v1/embeddings",
        lambda answer: Embeddings.from_json(answer.json()),
        {"json": {**body, "encoding_format": "base64"}},
        {"X-Priority": priority},
    )


def _path(id: str) -> str:
    return f"/v1/label-sets/{quote(id, safe='')}"


def _label_set(answer: httpx.Response) -> LabelSet:
    return LabelSet.from_json(answer.json(), answer.headers.get("etag", ""))


def put_label_set(id: str, labels: Labels, template: str | None, if_match: str | None) -> Call[LabelSet]:
    rest = {} if template is None else {"template": template}
    content: dict[str, Any] = {"json": {"labels": labels_to_json(labels), **rest}}
    if files := example_files(labels):
        content = {"data": {"labels": labels_field(labels), **rest}, "files": files}
    return Call("PUT", _path(id), _label_set, content, _condition(if_match))


def get_label_set(id: str) -> Call[LabelSet]:
    return Call("GET", _path(id), _label_set)


def delete_label_set(id: str, if_match: str | None) -> Call[None]:
    return Call("DELETE", _path(id), lambda _: None, headers=_condition(if_match))


def _condition(if_match: str | None) -> dict[str, str]:
    return {} if if_match is None else {"If-Match": if_match}


def list_label_sets() -> Call[list[LabelSetSummary]]:
    def summaries(answer: httpx.Response) -> list[LabelSetSummary]:
        return [LabelSetSummary(row["id"], row["labels"], row["etag"]) for row in answer.json()["label_sets"]]

    return Call("GET", "/v1/label-sets", summaries)


def model() -> Call[Model]:
    return Call("GET", "/v1/model", lambda answer: Model.from_json(answer.json()))


def ready() -> Call[bool]:
    return Call("GET", "/readyz", lambda answer: answer.status_code == 200)
