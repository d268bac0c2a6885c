"""A request's way from bytes to scores: decode, embed, score. HTTP ends before it and begins again after it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.audio import AudioError
from model.classify import LabelEmbeddings, LabelPrompts, Scores, clip_embedding, ranked
from model.prompts import Embeddings, Label
from service.api.deadline import Deadline
from service.api.problems import BY_CODE, Code, Problem
from service.api.request import Classify, Clip, Fields
from service.cache.audio_cache import AudioCache
from service.cache.lru import Lru
from service.cache.prompt_cache import PromptCache
from service.decoding.pool import DecodePool, DecodersBusy
from service.decoding.shape import Decoded, Shape
from service.ipc.embedding import (
    DeadlineExceeded,
    Embedded,
    Embedder,
    EmbeddingError,
    Overloaded,
    Priority,
    RejectedItem,
    Reservation,
    WorkerUnavailable,
)
from service.observe.metrics import DECODE_FAILURES, REJECTED
from service.offload import off_loop

BRIEF_PROMPTS, BRIEF_SCORES = 64, 256
"""So many are assembled, or scored, on the event loop."""
LABELS_BYTES = 256 << 20
"""Of labels as arrays, in each API process."""


@dataclass
class Timings:
    """Seconds of each stage. They follow each other on the critical path, so they add up to the request."""

    stages: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, seconds: float) -> None:
        self.stages[stage] = self.stages.get(stage, 0.0) + max(0.0, seconds)


@dataclass(frozen=True)
class ClipEmbeddings:
    """A clip that went through: its windows and their embeddings [k, d], and where the time went."""

    decoded: Decoded
    vectors: Embeddings
    compute_s: float
    decoded_at: float
    looked_up_at: float

    @property
    def windows(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True)
class ClipFailure:
    """A clip that did not; the others still get scores."""

    code: Code
    detail: str
    windows: int = 0


@dataclass(frozen=True)
class EmbeddedLabels:
    """One row a label, and when looking up their prompts ended."""

    labels: LabelEmbeddings
    looked_up_at: float


def _size(labels: LabelEmbeddings) -> int:
    return labels.positive.nbytes + labels.negative.nbytes + labels.background.nbytes


class Classifier:
    """Everything that one API process needs to answer a request."""

    def __init__(
        self, embedder: Embedder, decoders: DecodePool, prompts: PromptCache, recordings: AudioCache | None = None
    ) -> None:
        self.embedder = embedder
        self.decoders = decoders
        self.prompts = prompts
        self.recordings = recordings
        self._assembled: Lru[Hashable, LabelEmbeddings] = Lru(LABELS_BYTES, _size)

    def check(self, deadline: Deadline) -> None:
        """Raises Problem for a request that would be refused whatever is in its body."""
        try:
            self.embedder.check(deadline=deadline.at, priority=deadline.priority)
        except EmbeddingError as error:
            raise problem_of(error) from error

    async def classify(
        self,
        request: Classify,
        labels: Sequence[Label],
        deadline: Deadline,
        timings: Timings,
        version: str | None = None,
    ) -> dict[str, Any]:
        """The contract's answer. `version` names labels that will be asked for again, and their content.

        Raises Problem where no clip got scores.
        """
        text: asyncio.Task[EmbeddedLabels] | None = None
        try:
            info = self.embedder.info
            fields = request.fields
            template = fields.template or info.config.prompts.template
            prompts = LabelPrompts(tuple(labels), template, info.config.prompts.background)
            async with self.room(len(request.clips), deadline, timings) as room:
                text = asyncio.create_task(self.embed_labels(prompts, version, deadline.priority))
                clips = await self.embed_clips(request.clips, deadline, timings, room)
            waited = time.perf_counter()
            async with asyncio.timeout(deadline.at - time.monotonic()):
                found = await text
            ended = time.perf_counter()
            looked_up = min(max(waited, found.looked_up_at), ended)
            timings.add("cache", looked_up - waited)
            timings.add("text_embed", ended - looked_up)
        except (EmbeddingError, TimeoutError) as error:
            raise problem_of(error) from error
        finally:
            if text is not None:
                text.cancel()
        began = time.perf_counter()
        brief = len(labels) * sum(clip.windows for clip in clips) <= BRIEF_SCORES
        results = await off_loop(brief, answer, request.clips, clips, prompts, found.labels, info.logit_scale, fields)
        timings.add("score", time.perf_counter() - began)
        return {
            "model": {"name": info.config.name, "fingerprint": info.fingerprint},
            "activation": fields.activation,
            "template": template,
            "results": results,
        }

    async def embed_labels(self, prompts: LabelPrompts, version: str | None, priority: Priority) -> EmbeddedLabels:
        """Labels as arrays, kept by what they are; those with a `version` then cost no work on text at all."""
        fingerprint = self.embedder.info.fingerprint
        key: Hashable = (fingerprint, prompts) if version is None else (fingerprint, version, prompts.template)
        kept = self._assembled.get(key)
        if version is not None and kept is not None:
            return EmbeddedLabels(kept, time.perf_counter())
        found = await self.prompts.get(prompts.prompts, priority)
        if kept is None:
            kept = await off_loop(len(found.vectors) <= BRIEF_PROMPTS, prompts.assemble, found.vectors)
            self._assembled.put(key, kept)
        return EmbeddedLabels(kept, found.looked_up_at)

    @asynccontextmanager
    async def room(self, clips: int, deadline: Deadline, timings: Timings) -> AsyncIterator[Reservation]:
        """Room in the queue, for at least one window of each clip: what cannot have that is refused before anything
        is decoded. Raises EmbeddingError."""
        began = time.perf_counter()
        async with self.embedder.reserve(clips, deadline=deadline.at, priority=deadline.priority) as room:
            timings.add("queue", time.perf_counter() - began)
            yield room

    async def embed_clips(
        self, clips: Sequence[Clip], deadline: Deadline, timings: Timings, room: Reservation
    ) -> list[ClipEmbeddings | ClipFailure]:
        """Every clip decoded and embedded, all at once. Raises EmbeddingError for what is no clip's fault, and
        Problem where every clip failed."""
        shape = Shape.of(self.embedder.info.config.front_end)
        began = time.perf_counter()
        request = object()
        tasks = [asyncio.create_task(self._embed_clip(clip, shape, deadline, room, request)) for clip in clips]
        try:
            done = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        self._account(done, began, timings)
        refuse_if_all_failed(done)
        return done

    async def _embed_clip(
        self, clip: Clip, shape: Shape, deadline: Deadline, room: Reservation, request: Hashable
    ) -> ClipEmbeddings | ClipFailure:
        """`request` is the same for all clips of one: those of others take turns with them."""
        try:
            async with asyncio.timeout(deadline.at - time.monotonic()):
                bulk = deadline.priority is Priority.BULK
                decoded = await self.decoders.decode(clip.data, shape, request=request, bulk=bulk)
        except AudioError as error:
            DECODE_FAILURES.labels(error.reason).inc()
            return ClipFailure(BY_CODE[error.code], error.detail)
        except DecodersBusy as error:
            raise Overloaded(str(error), error.retry_after_s) from None
        decoded_at = looked_up_at = time.perf_counter()

        async def embed() -> Embedded:
            return await self.embedder.embed_audio(
                decoded.windows, deadline=deadline.at, priority=deadline.priority, reservation=room
            )

        try:
            if self.recordings is None:
                embedded = await embed()
                vectors, compute_s = embedded.vectors, embedded.compute_s
            else:
                recalled = await self.recordings.get(decoded.digest, embed)
                vectors, compute_s, looked_up_at = recalled.vectors, recalled.compute_s, recalled.looked_up_at
        except RejectedItem:
            return ClipFailure(Code.UNSUPPORTED_AUDIO, "The model cannot embed this clip.")
        return ClipEmbeddings(decoded, vectors, compute_s, decoded_at, max(decoded_at, looked_up_at))

    @staticmethod
    def _account(done: Sequence[ClipEmbeddings | ClipFailure], began: float, timings: Timings) -> None:
        ended = time.perf_counter()
        embedded = [clip for clip in done if isinstance(clip, ClipEmbeddings)]
        if not embedded:
            timings.add("decode", ended - began)
            return
        last = max(embedded, key=lambda clip: clip.decoded_at)
        compute = min(last.compute_s, ended - last.looked_up_at)
        timings.add("decode", last.decoded_at - began)
        timings.add("cache", last.looked_up_at - last.decoded_at)
        timings.add("audio_embed", compute)
        timings.add("queue", ended - last.looked_up_at - compute)


def problem_of(error: Exception) -> Problem:
    """What an embedding that could not be had is to a client."""
    if isinstance(error, Overloaded):
        return Problem(Code.OVERLOADED, "The service cannot take this work in time.", error.retry_after_s)
    if isinstance(error, WorkerUnavailable):
        return Problem(Code.NOT_READY, "The worker is starting.", error.retry_after_s)
    if isinstance(error, DeadlineExceeded | TimeoutError):
        return Problem(Code.DEADLINE_EXCEEDED, "The request's deadline passed.")
    if isinstance(error, RejectedItem):
        return Problem(Code.INVALID_REQUEST, "labels: the model cannot embed a prompt")
    return Problem(Code.INTERNAL, "The service failed.")


def refuse_if_all_failed(clips: Sequence[ClipEmbeddings | ClipFailure]) -> None:
    """Raise Problem with the most frequent cause where not one clip went through."""
    failures = [clip for clip in clips if isinstance(clip, ClipFailure)]
    for failure in failures:
        REJECTED.labels(failure.code.code).inc()
    if len(failures) < len(clips):
        return
    code, _ = Counter(failure.code for failure in failures).most_common(1)[0]
    detail = next(failure.detail for failure in failures if failure.code is code)
    raise Problem(code, detail if len(failures) == 1 else f"No clip could be used. The first: {detail}")


def answer(
    clips: Sequence[Clip],
    outcomes: Sequence[ClipEmbeddings | ClipFailure],
    prompts: LabelPrompts,
    labels: LabelEmbeddings,
    scale: float,
    fields: Fields,
) -> list[dict[str, Any]]:
    """The contract's `results`, one entry a clip."""
    names = [label.name for label in prompts.labels]

    def scored(scores: Scores, at: int) -> list[dict[str, Any]]:
        rows = ranked(names, scores.score[at], scores.similarity[at], fields.top_k)
        return [{"label": name, "score": score, "similarity": similarity} for name, score, similarity in rows]

    results: list[dict[str, Any]] = []
    for clip, outcome in zip(clips, outcomes, strict=True):
        if isinstance(outcome, ClipFailure):
            results.append({"name": clip.name, "error": {"code": outcome.code.code, "detail": outcome.detail}})
            continue
        windows = outcome.vectors
        audio = clip_embedding(windows)[np.newaxis]
        whole = labels.score(audio, scale, fields.activation, fields.none_of_these)
        result: dict[str, Any] = {
            "name": clip.name,
            "duration_s": round(outcome.decoded.duration_s, 6),
            "scores": scored(whole, 0),
        }
        if fields.timeline:
            each = labels.score(windows, scale, fields.activation, fields.none_of_these)
            decoded = outcome.decoded
            ends = [min(start + decoded.window_s, decoded.duration_s) for start in decoded.starts_s]
            result["timeline"] = [
                {"start_s": start, "end_s": end, "scores": scored(each, at)}
                for at, (start, end) in enumerate(zip(decoded.starts_s, ends, strict=True))
            ]
        if whole.none_of_these is not None:
            result["none_of_these"] = float(whole.none_of_these[0])
        results.append(result)
    return results
