"""The contract's answer to `POST /v1/classify`, from embeddings to JSON. Nothing here waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType

from model.classify import LabelEmbeddings, Scores, clip_embedding, ranked
from model.events import count_stretches, find_events
from model.info import ModelInfo
from service.api.clip import Clip
from service.api.embedded_clip import ClipEmbeddings, ClipFailure, ClipOutcome
from service.api.request import Fields
from service.api.request_bounds import RequestBounds


class Score(msgspec.Struct, gc=False):
    """One row of an answer."""

    label: str
    score: float
    similarity: float


class Window(msgspec.Struct):
    """One entry of `timeline`. `scores` is JSON: rows of many windows would take ten times the memory."""

    start_s: float
    end_s: float
    scores: Raw


class Event(msgspec.Struct, gc=False):
    """One entry of `events`."""

    label: str
    start_s: float
    end_s: float
    score: float


class Result(msgspec.Struct):
    """A clip that got scores."""

    name: str
    duration_s: float
    scores: Raw
    timeline: list[Window] | UnsetType = UNSET
    events: list[Event] | UnsetType = UNSET
    none_of_these: float | UnsetType = UNSET


class Fault(msgspec.Struct):
    """Why a clip got no scores."""

    code: str
    detail: str


class Failure(msgspec.Struct):
    """A clip that got no scores, and why."""

    name: str
    error: Fault


class Model(msgspec.Struct):
    """The checkpoint that made the scores."""

    name: str
    fingerprint: str


class Answer(msgspec.Struct):
    """The whole answer."""

    model: Model
    activation: str
    template: str
    results: list[Result | Failure]
    warnings: list[str] | UnsetType = UNSET


@dataclass(frozen=True)
class EmbeddedRequest:
    """A request whose clips and labels are embedded, in the order in which they were sent.

    `thresholds` has the sigmoid score above which each label is heard.
    """

    clips: Sequence[Clip]
    outcomes: Sequence[ClipOutcome]
    names: Sequence[str]
    thresholds: Sequence[float]
    labels: LabelEmbeddings
    template: str
    fields: Fields
    warnings: list[str]
    info: ModelInfo
    bounds: RequestBounds


def write(request: EmbeddedRequest) -> bytes:
    """The answer as JSON, one result per clip."""
    info = request.info
    results = [
        Failure(clip.name, Fault(outcome.code.code, outcome.detail))
        if isinstance(outcome, ClipFailure)
        else result(clip.name, outcome, request)
        for clip, outcome in zip(request.clips, request.outcomes, strict=True)
    ]
    model = Model(info.config.name, info.fingerprint)
    return msgspec.json.encode(
        Answer(model, request.fields.activation, request.template, results, request.warnings or UNSET)
    )


def result(name: str, clip: ClipEmbeddings, request: EmbeddedRequest) -> Result:
    """The scores of one clip, and of its windows and its events if the request asks for them. Raises Problem."""
    names, labels, fields, scale = request.names, request.labels, request.fields, request.info.logit_scale
    windows = clip.sliding
    audio = clip_embedding(clip.vectors)[np.newaxis]
    whole = labels.score(audio, scale, fields.activation, fields.none_of_these)
    answer = Result(name, round(clip.duration_s, 6), rows(names, whole, 0, fields.top_k))
    if fields.timeline:
        each = labels.score(windows.vectors, scale, fields.activation, fields.none_of_these)
        ends_s = [min(start_s + clip.window_s, clip.duration_s) for start_s in windows.starts_s]
        answer.timeline = [
            Window(start_s, end_s, rows(names, each, at, fields.top_k))
            for at, (start_s, end_s) in enumerate(zip(windows.starts_s, ends_s, strict=True))
        ]
    if fields.events:
        sigmoid = labels.score(windows.vectors, scale, "sigmoid").score
        request.bounds.events(count_stretches(sigmoid, request.thresholds), max(map(len, names)))
        answer.events = [
            Event(names[event.label], round(event.start_s, 6), round(event.end_s, 6), event.score)
            for event in find_events(
                windows.starts_s, sigmoid, request.thresholds, clip.window_s, windows.hop_s, clip.duration_s
            )
        ]
    if whole.none_of_these is not None:
        answer.none_of_these = float(whole.none_of_these[0])
    return answer


def rows(names: Sequence[str], scores: Scores, at: int, top_k: int | None) -> Raw:
    """The rows of one window as JSON, best first."""
    best = ranked(names, scores.score[at], scores.similarity[at], top_k)
    return Raw(msgspec.json.encode([Score(*row) for row in best]))
