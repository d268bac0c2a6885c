"""What the service answers, as dataclasses."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anysound_client.errors import ServiceError, from_code
from anysound_client.labels import Label

if TYPE_CHECKING:
    import numpy
    import pandas


@dataclass(frozen=True)
class Score:
    """A label's score in 0 to 1, and its cosine similarity with the recording."""

    label: str
    score: float
    similarity: float


@dataclass(frozen=True)
class Window:
    """The scores of a part of the recording, best first; times in seconds. `none_of_these` is set in streams."""

    start_s: float
    end_s: float
    scores: tuple[Score, ...]
    none_of_these: float | None = None


@dataclass(frozen=True)
class Event:
    """A stretch in which a label is heard, and its highest score there; times in seconds."""

    label: str
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class Result:
    """One recording's scores, best first; or the error that says why there are none."""

    name: str
    duration_s: float = 0.0
    scores: tuple[Score, ...] = ()
    timeline: tuple[Window, ...] = ()
    none_of_these: float | None = None
    events: tuple[Event, ...] = ()
    error: ServiceError | None = None

    @property
    def best(self) -> Score:
        """The label with the highest score. Raises the recording's error if it has one."""
        if self.error is not None:
            raise self.error
        return self.scores[0]

    def __getitem__(self, label: str) -> Score:
        """The score of a label. Raises KeyError where it was not asked for or `top_k` left it out."""
        for score in self.scores:
            if score.label == label:
                return score
        raise KeyError(label)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        if "error" in data:
            return cls(data["name"], error=from_code(data["error"]["code"], data["error"]["detail"]))
        return cls(
            data["name"],
            data["duration_s"],
            _scores(data["scores"]),
            tuple(map(window_from_json, data.get("timeline", ()))),
            data.get("none_of_these"),
            tuple(map(event_from_json, data.get("events", ()))),
        )


def window_from_json(data: Mapping[str, Any]) -> Window:
    """A window of a timeline or of a stream."""
    return Window(data["start_s"], data["end_s"], _scores(data["scores"]), data.get("none_of_these"))


def event_from_json(data: Mapping[str, Any]) -> Event:
    """An event of a recording or of a stream."""
    return Event(data["label"], data["start_s"], data["end_s"], data["score"])


def _scores(rows: Iterable[Mapping[str, Any]]) -> tuple[Score, ...]:
    return tuple(Score(row["label"], row["score"], row["similarity"]) for row in rows)


@dataclass(frozen=True)
class Classification:
    """The answer to a request: a result per recording, in the order they were sent."""

    model: str
    fingerprint: str
    activation: str
    template: str
    results: tuple[Result, ...]
    warnings: tuple[str, ...] = ()

    @property
    def result(self) -> Result:
        """The result of the only recording. Raises ValueError where there were several."""
        [result] = self.results
        return result

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Classification:
        return cls(
            data["model"]["name"],
            data["model"]["fingerprint"],
            data["activation"],
            data["template"],
            tuple(map(Result.from_json, data["results"])),
            tuple(data.get("warnings", ())),
        )


@dataclass(frozen=True)
class Item:
    """One recording of `classify_many`: what was given, and its result or the error that it met."""

    source: Any
    result: Result | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Embeddings(Sequence["tuple[float, ...]"]):
    """L2-normalised float32 embeddings, one per input, and the name and fingerprint of the model that made them."""

    model: str
    fingerprint: str
    rows: tuple[tuple[float, ...], ...]

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[float, ...]]:
        return iter(self.rows)

    def to_numpy(self) -> numpy.ndarray:
        """float32 [inputs, dimensions]; needs NumPy."""
        import numpy

        return numpy.array(self.rows, numpy.float32)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Embeddings:
        model, _, fingerprint = data["model"].rpartition("@")
        return cls(model, fingerprint, tuple(_floats(row["embedding"]) for row in data["data"]))


def _floats(encoded: str) -> tuple[float, ...]:
    """Little-endian float32 from base64."""
    values = array("f", base64.b64decode(encoded))
    if sys.byteorder == "big":
        values.byteswap()
    return tuple(values)


@dataclass(frozen=True)
class LabelSet:
    """A registered label set. `etag` names this version, for `if_match`.

    `examples` is how many examples each label has; `fingerprint` is of the checkpoint that embedded them, and only that
    one can use them.
    """

    id: str
    labels: tuple[Label, ...]
    template: str | None
    storage: str
    etag: str
    examples: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any], etag: str) -> LabelSet:
        labels = [
            Label(
                each["name"], tuple(each["prompts"]), tuple(each["negative_prompts"]), threshold=each.get("threshold")
            )
            for each in data["labels"]
        ]
        examples = data.get("examples", {})
        return cls(
            data["id"],
            tuple(labels),
            data["template"],
            data["storage"],
            etag,
            examples.get("counts", {}),
            examples.get("fingerprint"),
        )


@dataclass(frozen=True)
class LabelSetSummary:
    """A line of the list of label sets: its id, how many labels it has, its version."""

    id: str
    labels: int
    etag: str


@dataclass(frozen=True)
class Model:
    """The checkpoint that is served, and the service's limits. `fields` has everything the service says."""

    name: str
    fingerprint: str
    template: str
    limits: Mapping[str, float]
    fields: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Model:
        return cls(data["name"], data["fingerprint"], data["template"], data["limits"], data)


def to_pandas(results: Classification | Iterable[Result | Item]) -> pandas.DataFrame:
    """A row per recording and label: name, label, score, similarity, rank, duration_s, error; needs pandas.

    A recording that failed has one row, with its error.
    """
    import pandas

    rows: list[dict[str, Any]] = []
    for each in results.results if isinstance(results, Classification) else results:
        result, error = (each.result, each.error) if isinstance(each, Item) else (each, each.error)
        name = str(each.source) if isinstance(each, Item) else each.name
        if result is None or error is not None:
            detail = error.detail if isinstance(error, ServiceError) else str(error)
            rows.append({"name": name, "error": detail})
            continue
        rows += [
            {
                "name": name,
                "label": score.label,
                "score": score.score,
                "similarity": score.similarity,
                "rank": rank,
                "duration_s": result.duration_s,
            }
            for rank, score in enumerate(result.scores, 1)
        ]
    columns = ["name", "label", "score", "similarity", "rank", "duration_s", "error"]
    return pandas.DataFrame(rows, columns=columns)
