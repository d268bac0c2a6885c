"""`Client` and its twin for asyncio. Each method describes its call and sends it; answers are dataclasses."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import httpx

from anysound_client import calls
from anysound_client.attempts import Attempts
from anysound_client.audio import Audio
from anysound_client.calls import Activation, Call, Priority
from anysound_client.errors import AnysoundError
from anysound_client.labels import Labels
from anysound_client.progress import tracked
from anysound_client.results import Classification, Embeddings, Item, LabelSet, LabelSetSummary, Model
from anysound_client.stream import Encoding, Piece, StreamMessage, opening, stream, stream_async

T = TypeVar("T")
RETRIES = 5
TIMEOUT_S = 30.0
CONCURRENCY = 8


def _options(base_url: str, key: str | None) -> dict[str, Any]:
    headers = {"User-Agent": "anysound-client"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return {"base_url": base_url, "headers": headers, "follow_redirects": False}


class Client:
    """A service at `base_url`; `key` where it requires one. Use it in a `with` block, from any number of threads.

    `timeout_s` is the time of a call in seconds, retries included; `retries` how often a call is repeated at most.
    """

    def __init__(
        self, base_url: str, key: str | None = None, *, timeout_s: float = TIMEOUT_S, retries: int = RETRIES
    ) -> None:
        self._http = httpx.Client(**_options(base_url, key))
        self._base_url = base_url
        self._key = key
        self._timeout_s = timeout_s
        self._retries = retries

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(
        self,
        audio: Audio | Sequence[Audio],
        labels: Labels | None = None,
        *,
        label_set: str | None = None,
        template: str | None = None,
        activation: Activation = "softmax",
        top_k: int | None = None,
        timeline: bool = False,
        none_of_these: bool = False,
        events: bool = False,
        threshold: float | None = None,
        hop_s: float | None = None,
        priority: Priority = "interactive",
        timeout_s: float | None = None,
    ) -> Classification:
        """Score one recording, or a list of them, against labels or a registered label set.

        Raises AnysoundError; OSError, TypeError or ValueError for a recording or labels that cannot be sent.
        """
        call = calls.classify(
            audio,
            labels,
            label_set,
            template,
            activation,
            top_k,
            timeline,
            none_of_these,
            priority,
            events,
            threshold,
            hop_s,
        )
        return self._send(call, timeout_s)

    def classify_many(
        self,
        audio: Iterable[Audio],
        labels: Labels | None = None,
        *,
        concurrency: int = CONCURRENCY,
        progress: bool = False,
        **options: Any,
    ) -> Iterator[Item]:
        """Score any number of recordings, one per request, in their order; `options` are those of `classify`.

        A recording that fails gives an item with its error. `progress` shows a bar where tqdm is installed.
        """

        def classified(source: Audio) -> Item:
            try:
                return Item(source, self.classify(source, labels, **options).result)
            except (AnysoundError, OSError, TypeError, ValueError) as error:
                return Item(source, error=error)

        waiting: deque[Future[Item]] = deque()
        with ThreadPoolExecutor(concurrency, thread_name_prefix="anysound") as threads:
            try:
                for source in tracked(audio, progress):
                    waiting.append(threads.submit(classified, source))
                    if len(waiting) >= 2 * concurrency:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:  # the caller may have stopped early
                for future in waiting:
                    future.cancel()

    def stream(
        self,
        pieces: Iterable[Piece],
        sample_rate: int,
        labels: Labels | None = None,
        *,
        encoding: Encoding = "s16le",
        label_set: str | None = None,
        template: str | None = None,
        activation: Activation = "softmax",
        top_k: int | None = None,
        none_of_these: bool = False,
        events: bool = False,
        threshold: float | None = None,
        hop_s: float | None = None,
    ) -> Iterator[StreamMessage]:
        """Score live audio: `pieces` of mono PCM, little-endian, of any size.

        Yields a Window at each hop, an Event with `events`, and Dropped where the service fell behind. Is not retried.
        Needs the extra `stream`. Raises AnysoundError, ImportError.
        """
        start = opening(
            self._base_url,
            self._key,
            sample_rate,
            encoding,
            labels,
            label_set=label_set,
            template=template,
            activation=activation,
            top_k=top_k,
            none_of_these=none_of_these,
            events=events,
            threshold=threshold,
            hop_s=hop_s,
        )
        return stream(start, pieces)

    def embed_texts(
        self, texts: Sequence[str], *, priority: Priority = "interactive", timeout_s: float | None = None
    ) -> Embeddings:
        """Embeddings of texts, as they are: no template is put around them."""
        return self._send(calls.embed_texts(texts, priority), timeout_s)

    def embed_audio(
        self, audio: Audio | Sequence[Audio], *, priority: Priority = "interactive", timeout_s: float | None = None
    ) -> Embeddings:
        """Embeddings of one recording, or of a list of them. One that cannot be read fails the call."""
        return self._send(calls.embed_audio(audio, priority), timeout_s)

    def put_label_set(
        self, id: str, labels: Labels, *, template: str | None = None, if_match: str | None = None
    ) -> LabelSet:
        """Register labels under an id, or replace them. Raises PreconditionFailed where `if_match` does not hold."""
        return self._send(calls.put_label_set(id, labels, template, if_match))

    def get_label_set(self, id: str) -> LabelSet:
        """Raises UnknownLabelSet."""
        return self._send(calls.get_label_set(id))

    def delete_label_set(self, id: str, *, if_match: str | None = None) -> None:
        """Raises UnknownLabelSet; PreconditionFailed where `if_match` does not hold."""
        self._send(calls.delete_label_set(id, if_match))

    def list_label_sets(self) -> list[LabelSetSummary]:
        """All registered label sets, without their labels."""
        return self._send(calls.list_label_sets())

    def model(self) -> Model:
        """The checkpoint that is served, and the service's limits."""
        return self._send(calls.model())

    def ready(self) -> bool:
        """Whether the service answers requests now. Never raises AnysoundError."""
        try:
            return self._send(calls.ready(), timeout_s=5.0, retries=0)
        except AnysoundError:
            return False

    def _send(self, call: Call[T], timeout_s: float | None = None, retries: int | None = None) -> T:
        attempts = Attempts(self._retries if retries is None else retries, timeout_s or self._timeout_s)
        while True:
            headers = {**call.headers, **attempts.headers()}
            try:
                answer = self._http.request(
                    call.method, call.path, headers=headers, timeout=attempts.remaining_s, **call.content
                )
            except httpx.TransportError as failure:
                pause_s: float | None = attempts.after_failure(failure)
            else:
                pause_s = attempts.after_answer(answer)
                if pause_s is None:
                    return call.read(answer)
            time.sleep(pause_s or 0.0)


class AsyncClient:
    """The same for asyncio: use it in an `async with` block."""

    def __init__(
        self, base_url: str, key: str | None = None, *, timeout_s: float = TIMEOUT_S, retries: int = RETRIES
    ) -> None:
        self._http = httpx.AsyncClient(**_options(base_url, key))
        self._base_url = base_url
        self._key = key
        self._timeout_s = timeout_s
        self._retries = retries

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(
        self,
        audio: Audio | Sequence[Audio],
        labels: Labels | None = None,
        *,
        label_set: str | None = None,
        template: str | None = None,
        activation: Activation = "softmax",
        top_k: int | None = None,
        timeline: bool = False,
        none_of_these: bool = False,
        events: bool = False,
        threshold: float | None = None,
        hop_s: float | None = None,
        priority: Priority = "interactive",
        timeout_s: float | None = None,
    ) -> Classification:
        """Score one recording, or a list of them, against labels or a registered label set.

        Raises AnysoundError; OSError, TypeError or ValueError for a recording or labels that cannot be sent.
        """
        describe = partial(
            calls.classify,
            audio,
            labels,
            label_set,
            template,
            activation,
            top_k,
            timeline,
            none_of_these,
            priority,
            events,
            threshold,
            hop_s,
        )
        call = await asyncio.to_thread(describe)  # it reads files
        return await self._send(call, timeout_s)

    async def classify_many(
        self,
        audio: Iterable[Audio],
        labels: Labels | None = None,
        *,
        concurrency: int = CONCURRENCY,
        progress: bool = False,
        **options: Any,
    ) -> AsyncIterator[Item]:
        """Score any number of recordings, one per request, in their order; `options` are those of `classify`.

        A recording that fails gives an item with its error. `progress` shows a bar where tqdm is installed.
        """
        turn = asyncio.Semaphore(concurrency)

        async def classified(source: Audio) -> Item:
            async with turn:
                try:
                    return Item(source, (await self.classify(source, labels, **options)).result)
                except (AnysoundError, OSError, TypeError, ValueError) as error:
                    return Item(source, error=error)

        waiting: deque[asyncio.Task[Item]] = deque()
        try:
            for source in tracked(audio, progress):
                waiting.append(asyncio.create_task(classified(source)))
                if len(waiting) >= 2 * concurrency:
                    yield await waiting[0]
                    waiting.popleft()
            while waiting:
                yield await waiting[0]
                waiting.popleft()
        finally:  # the caller may have stopped early
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def stream(
        self,
        pieces: AsyncIterable[Piece],
        sample_rate: int,
        labels: Labels | None = None,
        *,
        encoding: Encoding = "s16le",
        label_set: str | None = None,
        template: str | None = None,
        activation: Activation = "softmax",
        top_k: int | None = None,
        none_of_these: bool = False,
        events: bool = False,
        threshold: float | None = None,
        hop_s: float | None = None,
    ) -> AsyncIterator[StreamMessage]:
        """Score live audio: `pieces` of mono PCM, little-endian, of any size.

        Yields a Window at each hop, an Event with `events`, and Dropped where the service fell behind. Is not retried.
        Needs the extra `stream`. Raises AnysoundError, ImportError.
        """
        start = opening(
            self._base_url,
            self._key,
            sample_rate,
            encoding,
            labels,
            label_set=label_set,
            template=template,
            activation=activation,
            top_k=top_k,
            none_of_these=none_of_these,
            events=events,
            threshold=threshold,
            hop_s=hop_s,
        )
        return stream_async(start, pieces)

    async def embed_texts(
        self, texts: Sequence[str], *, priority: Priority = "interactive", timeout_s: float | None = None
    ) -> Embeddings:
        """Embeddings of texts, as they are: no template is put around them."""
        return await self._send(calls.embed_texts(texts, priority), timeout_s)

    async def embed_audio(
        self, audio: Audio | Sequence[Audio], *, priority: Priority = "interactive", timeout_s: float | None = None
    ) -> Embeddings:
        """Embeddings of one recording, or of a list of them. One that cannot be read fails the call."""
        call = await asyncio.to_thread(calls.embed_audio, audio, priority)  # it reads files
        return await self._send(call, timeout_s)

    async def put_label_set(
        self, id: str, labels: Labels, *, template: str | None = None, if_match: str | None = None
    ) -> LabelSet:
        """Register labels under an id, or replace them. Raises PreconditionFailed where `if_match` does not hold."""
        return await self._send(calls.put_label_set(id, labels, template, if_match))

    async def get_label_set(self, id: str) -> LabelSet:
        """Raises UnknownLabelSet."""
        return await self._send(calls.get_label_set(id))

    async def delete_label_set(self, id: str, *, if_match: str | None = None) -> None:
        """Raises UnknownLabelSet; PreconditionFailed where `if_match` does not hold."""
        await self._send(calls.delete_label_set(id, if_match))

    async def list_label_sets(self) -> list[LabelSetSummary]:
        """All registered label sets, without their labels."""
        return await self._send(calls.list_label_sets())

    async def model(self) -> Model:
        """The checkpoint that is served, and the service's limits."""
        return await self._send(calls.model())

    async def ready(self) -> bool:
        """Whether the service answers requests now. Never raises AnysoundError."""
        try:
            return await self._send(calls.ready(), timeout_s=5.0, retries=0)
        except AnysoundError:
            return False

    async def _send(self, call: Call[T], timeout_s: float | None = None, retries: int | None = None) -> T:
        attempts = Attempts(self._retries if retries is None else retries, timeout_s or self._timeout_s)
        while True:
            headers = {**call.headers, **attempts.headers()}
            try:
                answer = await self._http.request(
                    call.method, call.path, headers=headers, timeout=attempts.remaining_s, **call.content
                )
            except httpx.TransportError as failure:
                pause_s: float | None = attempts.after_failure(failure)
            else:
                pause_s = attempts.after_answer(answer)
                if pause_s is None:
                    return call.read(answer)
            await asyncio.sleep(pause_s or 0.0)
