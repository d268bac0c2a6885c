"""Prompt embeddings kept in the process: each prompt is embedded once, whoever asks and however many at a time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence

from model.prompts import Embeddings
from service.embedding import Embedder, Priority
from service.metrics import CACHE_REQUESTS

EMBED_S = 30.0


class PromptCache:
    """A bounded least-recently-used map from (fingerprint, prompt) to embedding [d], with single flight."""

    def __init__(self, embedder: Embedder, size: int) -> None:
        self._embedder = embedder
        self._size = size
        self._kept: OrderedDict[tuple[str, str], Embeddings] = OrderedDict()
        self._flights: dict[tuple[str, str], asyncio.Task[dict[str, Embeddings]]] = {}

    async def get(self, prompts: Sequence[str], priority: Priority) -> dict[str, Embeddings]:
        """The embedding of every prompt. Raises EmbeddingError where the worker gives none."""
        fingerprint = self._embedder.info.fingerprint
        found: dict[str, Embeddings] = {}
        flights: set[asyncio.Task[dict[str, Embeddings]]] = set()
        missing: list[str] = []
        for prompt in prompts:
            key = (fingerprint, prompt)
            if key in self._kept:
                self._kept.move_to_end(key)
                found[prompt] = self._kept[key]
            elif key in self._flights:
                flights.add(self._flights[key])
            else:
                missing.append(prompt)
        CACHE_REQUESTS.labels("text", "l1", "hit").inc(len(found))
        CACHE_REQUESTS.labels("text", "l1", "miss").inc(len(prompts) - len(found))
        if missing:
            # A task of its own: whoever joined must not fail because the first to ask went away.
            flight = asyncio.create_task(self._embed(fingerprint, missing, priority))
            flight.add_done_callback(lambda done: done.cancelled() or done.exception())
            for prompt in missing:
                self._flights[fingerprint, prompt] = flight
            flights.add(flight)
        for flight in flights:
            found |= await asyncio.shield(flight)
        return found

    async def _embed(self, fingerprint: str, prompts: list[str], priority: Priority) -> dict[str, Embeddings]:
        try:
            embedded = await self._embedder.embed_text(prompts, deadline=time.monotonic() + EMBED_S, priority=priority)
        finally:
            for prompt in prompts:
                self._flights.pop((fingerprint, prompt), None)
        vectors = dict(zip(prompts, embedded.vectors, strict=True))
        for prompt, vector in vectors.items():
            self._kept[fingerprint, prompt] = vector.copy()  # a row of the batch would keep all of it
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return vectors
