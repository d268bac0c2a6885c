"""Windows of a clip at the distance that a request asks for, embedded a few at a time.

Overlapping windows have many times the samples of their clip. Only a few of them exist at once: they are copied from
the clip's own windows when the worker is about to take them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from model.native import Recording
from model.prompts import Embeddings
from model.windows import Starts, slice_windows, window_starts
from service.api.deadline import Deadline
from service.api.embedded_clip import Windows
from service.cache.audio_cache import AudioCache
from service.decoding.shape import Decoded, Shape
from service.ipc.embedding import Embedder, Overloaded, Priority, Vectors
from service.observe import stages

PART_WINDOWS = 16
"""Windows that are copied and sent together."""
PARTS_AHEAD = 2
"""Parts of one clip that wait for the worker."""
PARTS_AT_ONCE = 4
"""Parts of all clips of one priority in an API process that exist at once."""
SHORTEST_PAUSE_S = 0.05


def starts_of(decoded: Decoded, shape: Shape, hop: int) -> Starts:
    """The starts [k] of a clip's windows every `hop` samples, in samples."""
    return window_starts(round(decoded.duration_s * shape.rate), shape.window, hop)


class SlidingWindows:
    """Embeds the windows of clips at any hop. Each window is embedded once, and then cached by clip and start."""

    def __init__(self, embedder: Embedder, recordings: AudioCache | None) -> None:
        self._embedder = embedder
        self._recordings = recordings
        self._parts = {priority: asyncio.Semaphore(PARTS_AT_ONCE) for priority in Priority}

    async def embed(self, decoded: Decoded, shape: Shape, hop: int, own: Embeddings, deadline: Deadline) -> Windows:
        """The windows every `hop` samples. `own` are the embeddings of the decoded windows. Raises EmbeddingError."""
        starts = starts_of(decoded, shape, hop)
        own_starts: Starts = np.rint(np.array(decoded.starts_s) * shape.rate).astype(np.int64)
        known = dict(zip(own_starts.tolist(), own, strict=True))
        unknown = [start for start in starts.tolist() if start not in known]
        if unknown:

            async def compute(fingerprint: str, wanted: Sequence[int]) -> Embeddings:
                return await self._compute(decoded, own_starts, wanted, fingerprint, deadline)

            if self._recordings is None:
                vectors = list(await compute(self._embedder.info.fingerprint, unknown))
            else:
                clip = f"{decoded.digest}:{round(decoded.duration_s * shape.rate)}"
                vectors = await self._recordings.get_windows(clip, unknown, deadline.at, compute)
            stages.mark("audio_embed")
            known |= dict(zip(unknown, vectors, strict=True))
        rows = np.stack([known[start] for start in starts.tolist()])
        return Windows(hop / shape.rate, (starts / shape.rate).tolist(), rows)

    async def _windows(self, decoded: Decoded, own_starts: Starts, part: Starts) -> Vectors | Recording:
        """The windows of a clip that begin at `part` [n]."""
        if isinstance(decoded.windows, Recording):
            front_end = self._embedder.info.config.front_end
            return decoded.windows.at(part, front_end.sample_rate, front_end.window_samples)
        return await asyncio.to_thread(slice_windows, decoded.windows, own_starts, part)

    async def _compute(
        self, decoded: Decoded, own_starts: Starts, wanted: Sequence[int], fingerprint: str, deadline: Deadline
    ) -> Embeddings:
        """Embeddings [n, d] of the windows that begin at `wanted` [n], sent to the worker in parts."""
        parts = [np.array(wanted[at : at + PART_WINDOWS], np.int64) for at in range(0, len(wanted), PART_WINDOWS)]
        vectors: list[Embeddings] = []
        waiting: deque[asyncio.Task[Embeddings]] = deque()
        async with self._embedder.reserve(
            min(len(wanted), PART_WINDOWS), deadline=deadline.at, priority=deadline.priority
        ) as room:

            async def embed(part: Starts) -> Embeddings:
                async with self._parts[deadline.priority]:
                    windows = await self._windows(decoded, own_starts, part)
                    while True:
                        try:
                            embedded = await self._embedder.embed_audio(
                                windows,
                                deadline=deadline.at,
                                priority=deadline.priority,
                                reservation=room,
                                fingerprint=fingerprint,
                            )
                        except Overloaded as full:  # the parts before this one have been embedded: wait for room
                            pause_s = max(full.retry_after_s, SHORTEST_PAUSE_S)
                            if time.monotonic() + pause_s >= deadline.at:
                                raise
                            await asyncio.sleep(pause_s)
                        else:
                            return embedded.vectors

            try:
                for part in parts:
                    if len(waiting) == PARTS_AHEAD:
                        vectors.append(await waiting[0])
                        waiting.popleft()
                    waiting.append(asyncio.create_task(embed(part)))
                while waiting:
                    vectors.append(await waiting[0])
                    waiting.popleft()
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
        return np.concatenate(vectors)
