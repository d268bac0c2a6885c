"""Recordings that were sent before, byte for byte. They are neither decoded nor embedded again."""

from __future__ import annotations

import sys
from hashlib import sha256

from service.api.embedded_clip import ClipEmbeddings, Windows
from service.cache.lru import Lru
from service.observe.metrics import CACHE_REQUESTS
from service.offload import off_loop

LIMIT_BYTES = 16 << 20
BRIEF_BYTES = 256 << 10
"""Recordings up to this size are hashed on the event loop; hashing takes less than 0.5 ms."""

Key = tuple[str, int | None, bytes]


def _weight(clip: ClipEmbeddings) -> int:
    def windows(of: Windows) -> int:
        return of.vectors.nbytes + len(of.starts_s) * (sys.getsizeof(0.0) + 8) + 512

    return windows(clip.own) + (0 if clip.sliding is clip.own else windows(clip.sliding))


class RepeatedClips:
    """The embeddings of the latest recordings, by checkpoint, hop and SHA-256 of the bytes: 16 MiB per process."""

    def __init__(self) -> None:
        self._clips: Lru[Key, ClipEmbeddings] = Lru(LIMIT_BYTES, _weight)

    async def key(self, data: bytes | bytearray, fingerprint: str, hop: int | None) -> Key:
        """The key of a recording whose windows are `hop` samples apart, None for the checkpoint's own hop."""
        digest = await off_loop(len(data) <= BRIEF_BYTES, lambda: sha256(data).digest())
        return fingerprint, hop, digest

    def get(self, key: Key) -> ClipEmbeddings | None:
        clip = self._clips.get(key)
        if clip is not None:
            CACHE_REQUESTS.labels("audio", "l1", "hit").inc()
        return clip

    def put(self, key: Key, clip: ClipEmbeddings) -> None:
        self._clips.put(key, clip)
