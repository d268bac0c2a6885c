"""From clips and labels to scores: decode, embed, score. Nothing here knows HTTP."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

import msgspec

from model.audio import AudioError
from model.classify import LabelEmbeddings
from model.examples import Prototype
from model.info import ModelInfo
from model.plain import is_one_window
from model.prompts import Embeddings, Label
from service.api.answer import EmbeddedRequest
from service.api.clip import Clip
from service.api.deadline import Deadline
from service.api.embedded_clip import ClipEmbeddings, ClipFailure, ClipOutcome, Windows
from service.api.examples import SentExamples, in_order, prototypes_of
from service.api.label_sets.set_examples import SetExamples
from service.api.labels import ResolvedLabels, check_comparable, example_warnings, thresholds, warnings
from service.api.problems import BY_CODE, Code, Problem, invalid
from service.api.repeated_clips import RepeatedClips
from service.api.request import Fields
from service.api.request_bounds import RequestBounds
from service.api.sliding import SlidingWindows, starts_of
from service.cache.audio_cache import AudioCache
from service.cache.lru import Lru
from service.cache.prompt_cache import PromptCache
from service.decoding.pool import DecodePool, DecodersBusy
from service.decoding.shape import Shape
from service.ipc.embedding import (
    DeadlineExceeded,
    Embedded,
    Embedder,
    EmbeddingError,
    ModelReplaced,
    Overloaded,
    Priority,
    RejectedItem,
    Reservation,
    WorkerUnavailable,
)
from service.observe import stages
from service.observe.metrics import CACHE_REQUESTS, DECODE_FAILURES, REJECTED
from service.observe.stages import Stages, recording
from service.offload import off_loop

CLIPS_AT_ONCE = 16
"""Clips of one request that are decoded or embedded at the same time."""
BRIEF_PROMPTS, BRIEF_SCORES = 64, 256
"""Up to this many prompts or examples are assembled, and scores computed, on the event loop; more go to a thread."""
PROMPTS_AT_ONCE = 128
"""Prompts of one request that are embedded at the same time. What is embedded when a deadline passes stays cached, so
that a repeated request gets further."""
LABELS_BYTES = 128 << 20
"""Memory for label embeddings kept as arrays, per API process."""

T = TypeVar("T")


@dataclass(frozen=True)
class Assembled:
    """Labels as arrays, and how many prompts they were made of."""

    embeddings: LabelEmbeddings
    prompts: int


def _size(labels: Assembled) -> int:
    arrays = labels.embeddings
    return arrays.positive.nbytes + arrays.negative.nbytes + arrays.background.nbytes


def _digest(labels: ResolvedLabels, fingerprint: str) -> bytes:
    """The key under which the arrays of these labels are kept: a hash, as a thousand labels may be 10 MB of text."""
    prompts = labels.prompts
    content = (prompts.labels, prompts.background) if labels.version is None else (labels.version,)
    return sha256(msgspec.json.encode((fingerprint, prompts.template, content))).digest()


class Classifier:
    """Decodes and embeds clips, embeds labels, and scores clips against labels.

    `max_seconds` of audio, `max_answer_bytes` and `max_windows` at a hop of its own bound one request.
    """

    def __init__(
        self,
        embedder: Embedder,
        decoders: DecodePool,
        prompts: PromptCache,
        recordings: AudioCache | None,
        max_seconds: float,
        max_answer_bytes: int,
        max_windows: int,
    ) -> None:
        self._embedder = embedder
        self._decoders = decoders
        self._prompts = prompts
        self._recordings = recordings
        self._max_seconds = max_seconds
        self._max_answer_bytes = max_answer_bytes
        self._max_windows = max_windows
        self._sliding = SlidingWindows(embedder, recordings)
        self._repeated = None if recordings is None else RepeatedClips()
        self._assembled: Lru[bytes, Assembled] = Lru(LABELS_BYTES, _size)
        self._large_answer = asyncio.Lock()

    async def classify(
        self,
        clips: Sequence[Clip],
        labels: ResolvedLabels,
        fields: Fields,
        deadline: Deadline,
        write: Callable[[EmbeddedRequest], T],
        examples: SentExamples | None = None,
    ) -> T:
        """The answer, which `write` makes of the embeddings. `examples` are those that came with the labels.

        Raises Problem, also if no clip could be embedded or an example cannot be used.
        """
        bounds = self._bounds()
        hop_s = fields.hop_s if fields.timeline or fields.events else None
        names = [label.name for label in labels.prompts.labels]
        bounds.answer(len(clips), names, fields.top_k, fields.timeline)
        text_path = Stages()
        text: asyncio.Future[LabelEmbeddings] | None = None
        sent = list(in_order(labels.prompts.labels, examples or {}))
        try:
            info = self._embedder.info
            check_hop(fields.hop_s, info)
            check_examples(labels, examples, info)
            recordings = [example.clip for example in sent]
            async with self._room([*clips, *recordings], deadline) as room:
                made: asyncio.Future[dict[str, Prototype]] | None = asyncio.Future() if sent else None
                key = None if sent else await self._key(labels)
                kept = None if key is None else self._kept(labels, key)
                if kept is None:
                    with recording(text_path):
                        text = asyncio.create_task(self._embed_labels(labels, deadline, made, key))
                else:
                    text = asyncio.get_running_loop().create_future()
                    text.set_result(kept)
                outcomes = await self._embed_clips(clips, bounds, deadline, room, recordings, hop_s)
            if made is not None:
                made.set_result(await off_loop(len(sent) <= BRIEF_PROMPTS, prototypes_of, sent, outcomes[len(clips) :]))
            outcomes = outcomes[: len(clips)]
            refuse_if_all_failed(outcomes)
            embedded = text.result() if text.done() else await asyncio.wait_for(text, deadline.at - time.monotonic())
            if self._embedder.info.fingerprint != info.fingerprint:
                raise ModelReplaced
            stages.follow(text_path)
        except (EmbeddingError, TimeoutError) as error:
            raise problem_of(error) from error
        finally:
            if text is not None:
                text.cancel()
        windows = sum(len(each.sliding.vectors) for each in outcomes if isinstance(each, ClipEmbeddings))
        brief = len(names) * windows <= BRIEF_SCORES
        request = EmbeddedRequest(
            clips,
            outcomes,
            names,
            thresholds(labels.prompts.labels, fields.threshold),
            embedded,
            labels.prompts.template,
            fields,
            [
                *warnings(labels.prompts.labels),
                *example_warnings(
                    bool(sent or labels.examples), fields.activation, fields.none_of_these, info.config.example_scale
                ),
            ],
            info,
            bounds,
        )
        if brief:
            answer = write(request)
        else:
            async with self._large_answer:
                answer = await asyncio.to_thread(write, request)
        stages.mark("score")
        return answer

    async def embed_labels(
        self, labels: ResolvedLabels, deadline: Deadline, examples: SentExamples | None = None
    ) -> LabelEmbeddings:
        """The labels as arrays, without clips to score. Raises Problem."""
        try:
            check_examples(labels, examples, self._embedder.info)
            made: asyncio.Future[dict[str, Prototype]] | None = None
            if examples:
                made = asyncio.Future()
                made.set_result((await self.embed_examples(labels.prompts.labels, examples, deadline)).prototypes)
            return await self._embed_labels(labels, deadline, made)
        except (EmbeddingError, TimeoutError) as error:
            raise problem_of(error) from error

    async def embed_examples(
        self, labels: Sequence[Label], examples: SentExamples, deadline: Deadline, max_seconds: float | None = None
    ) -> SetExamples:
        """The prototypes of the labels that have examples, `max_seconds` of audio at most. Raises Problem."""
        sent = list(in_order(labels, examples))
        bounds = RequestBounds(max_seconds or self._max_seconds, self._max_answer_bytes, self._max_windows)
        try:
            info = self._embedder.info
            check_comparable(len(labels), len(examples), info.config.example_scale)
            recordings = [example.clip for example in sent]
            async with self._room(recordings, deadline) as room:
                outcomes = await self._embed_clips([], bounds, deadline, room, recordings)
            if self._embedder.info.fingerprint != info.fingerprint:
                raise ModelReplaced
        except (EmbeddingError, TimeoutError) as error:
            raise problem_of(error) from error
        return SetExamples(info.fingerprint, await off_loop(len(sent) <= BRIEF_PROMPTS, prototypes_of, sent, outcomes))

    async def embed_texts(self, texts: Sequence[str], deadline: Deadline) -> list[Embeddings]:
        """The embedding [d] of each text. Raises EmbeddingError."""
        vectors = await self._prompts.get(list(dict.fromkeys(texts)), deadline.at, deadline.priority)
        stages.mark("text_embed")
        return [vectors[text] for text in texts]

    async def embed_clips(self, clips: Sequence[Clip], deadline: Deadline) -> list[ClipOutcome]:
        """The embeddings of each clip, or why there are none.

        Raises EmbeddingError or TimeoutError for a fault that no clip caused, Problem if every clip failed.
        """
        async with self._room(clips, deadline) as room:
            outcomes = await self._embed_clips(clips, self._bounds(), deadline, room)
        refuse_if_all_failed(outcomes)
        return outcomes

    @property
    def _shape(self) -> Shape:
        """The form of audio that the model takes; some of it is resampled by the worker."""
        return Shape.of(self._embedder.info.config.front_end, native=True)

    def _bounds(self) -> RequestBounds:
        return RequestBounds(self._max_seconds, self._max_answer_bytes, self._max_windows)

    @asynccontextmanager
    async def _room(self, clips: Sequence[Clip], deadline: Deadline) -> AsyncIterator[Reservation | None]:
        """Reserve room in the queue for at least one window per clip: a request for which there is no room is refused
        before anything is decoded. A single window that needs no decoder is sent without asking first. Raises
        EmbeddingError."""
        shape = self._shape
        if len(clips) == 1 and is_one_window(clips[0].data, shape.rate, shape.window):
            yield None
            return
        async with self._embedder.reserve(len(clips), deadline=deadline.at, priority=deadline.priority) as room:
            stages.mark("queue")
            yield room

    async def _key(self, labels: ResolvedLabels) -> bytes:
        """The key under which the labels are kept as arrays."""
        brief = len(labels.prompts.labels) <= BRIEF_PROMPTS
        return await off_loop(brief, _digest, labels, self._embedder.info.fingerprint)

    def _kept(self, labels: ResolvedLabels, key: bytes) -> LabelEmbeddings | None:
        """The labels as arrays if an earlier request had the same: they cost no work on text then."""
        kept = self._assembled.get(key)
        if kept is None:
            return None
        if labels.version is None:
            CACHE_REQUESTS.labels("text", "l1", "hit").inc(kept.prompts)
        stages.mark("cache")
        return kept.embeddings

    async def _embed_labels(
        self,
        labels: ResolvedLabels,
        deadline: Deadline,
        made: asyncio.Future[dict[str, Prototype]] | None = None,
        key: bytes | None = None,
    ) -> LabelEmbeddings:
        """The labels as arrays, which are kept under `key`.

        `made` has the prototypes of examples that came with the request, once they are embedded.
        """
        prompts = labels.prompts
        brief = len(prompts.labels) <= BRIEF_PROMPTS
        scale = self._embedder.info.config.example_scale
        if made is not None:
            vectors = await self._embed_prompts(prompts.prompts, deadline)
            stages.mark("text_embed")
            return await off_loop(brief, prompts.assemble, vectors, await made, scale)
        if key is None:
            key = await self._key(labels)
            if (kept := self._kept(labels, key)) is not None:
                return kept
        vectors = await self._embed_prompts(prompts.prompts, deadline)
        prototypes = None if labels.examples is None else labels.examples.prototypes
        embeddings = await off_loop(brief, prompts.assemble, vectors, prototypes, scale)
        self._assembled.put(key, Assembled(embeddings, len(vectors)))
        stages.mark("text_embed")
        return embeddings

    async def _embed_prompts(self, prompts: Sequence[str], deadline: Deadline) -> dict[str, Embeddings]:
        vectors: dict[str, Embeddings] = {}
        for start in range(0, len(prompts), PROMPTS_AT_ONCE):
            part = prompts[start : start + PROMPTS_AT_ONCE]
            vectors |= await self._prompts.get(part, deadline.at, deadline.priority)
        return vectors

    async def _embed_clips(
        self,
        clips: Sequence[Clip],
        bounds: RequestBounds,
        deadline: Deadline,
        room: Reservation | None,
        examples: Sequence[Clip] = (),
        hop_s: float | None = None,
    ) -> list[ClipOutcome]:
        """Embed all clips, then the examples, up to `CLIPS_AT_ONCE` at a time.

        A clip's windows are freed once they are embedded. Examples have no windows in the answer. With `hop_s`, the
        clips are also cut into windows at this distance.
        """
        turn = asyncio.Semaphore(CLIPS_AT_ONCE)
        request = object()

        async def embed(clip: Clip, answered: bool) -> ClipOutcome:
            async with turn:
                return await self._embed_clip(clip, bounds, deadline, room, request, answered, hop_s)

        todo = [*((clip, True) for clip in clips), *((clip, False) for clip in examples)]
        if len(todo) == 1:
            return [await embed(*todo[0])]
        paths = [Stages() for _ in todo]
        tasks = []
        for (clip, answered), path in zip(todo, paths, strict=True):
            with recording(path):
                tasks.append(asyncio.create_task(embed(clip, answered)))
        try:
            outcomes = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        stages.follow(max(paths, key=lambda path: path.ended))
        return outcomes

    async def _embed_clip(
        self,
        clip: Clip,
        bounds: RequestBounds,
        deadline: Deadline,
        room: Reservation | None,
        request: Hashable,
        answered: bool,
        hop_s: float | None,
    ) -> ClipOutcome:
        """`request` is the same for all clips of one request: its clips take turns with those of others.

        `answered` says whether the answer has scores of the clip.
        """
        info = self._embedder.info
        shape = self._shape
        hop = None if hop_s is None or not answered else round(hop_s * shape.rate)

        def count(duration_s: float, own: int, sliding: int) -> None:
            bounds.decoded(duration_s, (own if hop is None else sliding) if answered else 0)
            if hop is not None:
                bounds.sliding(sliding)

        if self._repeated is not None:
            key = await self._repeated.key(clip.data, info.fingerprint, hop)
            if (repeated := self._repeated.get(key)) is not None:
                stages.mark("cache")
                count(repeated.duration_s, len(repeated.own.starts_s), len(repeated.sliding.starts_s))
                return repeated
        try:
            bulk = deadline.priority is Priority.BULK
            decoded = await self._decoders.decode(clip.data, shape, request=request, bulk=bulk, until=deadline.at)
        except AudioError as error:
            DECODE_FAILURES.labels(error.reason).inc()
            return ClipFailure(BY_CODE[error.code], error.detail)
        except DecodersBusy as error:
            raise Overloaded(str(error), error.retry_after_s) from None
        finally:
            stages.mark("decode")
        own_windows = len(decoded.starts_s)
        count(decoded.duration_s, own_windows, own_windows if hop is None else len(starts_of(decoded, shape, hop)))

        async def embed(fingerprint: str) -> Embedded:
            embedded = await self._embedder.embed_audio(
                decoded.windows,
                deadline=deadline.at,
                priority=deadline.priority,
                reservation=room,
                fingerprint=fingerprint,
            )
            stages.mark("queue", time.perf_counter() - embedded.compute_s)
            stages.mark("audio_embed")
            return embedded

        try:
            if self._recordings is None:
                vectors = (await embed(self._embedder.info.fingerprint)).vectors
            else:
                vectors = await self._recordings.get(decoded.digest, deadline.at, embed)
                stages.mark("queue")  # while waiting for another request that embeds the same recording
            own = sliding = Windows(shape.hop / shape.rate, decoded.starts_s, vectors)
            if hop is not None and hop != shape.hop:
                sliding = await self._sliding.embed(decoded, shape, hop, vectors, deadline)
        except RejectedItem:
            return ClipFailure(Code.UNSUPPORTED_AUDIO, "The model cannot embed this clip.")
        embeddings = ClipEmbeddings(own, sliding, decoded.window_s, decoded.duration_s)
        if self._repeated is not None and self._embedder.info.fingerprint == info.fingerprint:
            self._repeated.put(key, embeddings)
        return embeddings


def check_hop(hop_s: float | None, info: ModelInfo) -> None:
    """Raise Problem if windows at this distance would leave audio out."""
    window_s = info.config.front_end.window_s
    if hop_s is not None and hop_s > window_s:
        raise invalid(f"hop_s: {hop_s:g} s is longer than the model's window of {window_s:g} s")


def check_examples(labels: ResolvedLabels, sent: SentExamples | None, info: ModelInfo) -> None:
    """Raise Problem if this checkpoint did not make a registered set's prototypes, or cannot use examples of some."""
    if labels.examples is not None:
        labels.examples.check(info.fingerprint, info.config.joint_dim)
    count = len(sent or (() if labels.examples is None else labels.examples.prototypes))
    check_comparable(len(labels.prompts.labels), count, info.config.example_scale)


def problem_of(error: Exception) -> Problem:
    """The problem that reports the failure of an embedding to a client."""
    if isinstance(error, Overloaded):
        return Problem(Code.OVERLOADED, "The service cannot finish this work in time.", error.retry_after_s)
    if isinstance(error, WorkerUnavailable):
        return Problem(Code.NOT_READY, "The worker is starting.", error.retry_after_s)
    if isinstance(error, DeadlineExceeded | TimeoutError):
        return Problem(Code.DEADLINE_EXCEEDED, "The request's deadline passed.")
    if isinstance(error, RejectedItem):
        return Problem(Code.INVALID_REQUEST, "labels: the model cannot embed a prompt")
    return Problem(Code.INTERNAL, "The service failed.")


def refuse_if_all_failed(clips: Sequence[ClipOutcome]) -> None:
    """Raise Problem with the most frequent cause if no clip went through."""
    failures = [clip for clip in clips if isinstance(clip, ClipFailure)]
    for failure in failures:
        REJECTED.labels(failure.code.code).inc()
    if len(failures) < len(clips):
        return
    code, _ = Counter(failure.code for failure in failures).most_common(1)[0]
    detail = next(failure.detail for failure in failures if failure.code is code)
    raise Problem(code, detail if len(failures) == 1 else f"No clip could be used. The first: {detail}")
