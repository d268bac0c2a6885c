"""Cache of audio embeddings by content: a recording that was seen before costs no forward pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from model.prompts import Embeddings
from service.cache.redis_link import PREFIX, RedisLink
from service.cache.vector_cache import VectorCache
from service.ipc.embedding import Embedded, Embedder

Key = tuple[str, str]

ENTRY_BYTES = 512
"""Approximate memory of the Python objects of one entry, beside its embeddings."""


def redis_key(key: Key) -> str:
    fingerprint, digest = key
    return f"{PREFIX}audio:{fingerprint}:{digest}"


class AudioCache:
    """Window embeddings by checkpoint and SHA-256 of the decoded windows: `limit_bytes` in the process, then Redis.

    The windows that the checkpoint cuts a clip into are one entry; each further window has an entry of its own.
    """

    def __init__(self, embedder: Embedder, limit_bytes: int, redis: RedisLink | None, ttl_s: int) -> None:
        self._embedder = embedder
        self._cache: VectorCache[Key] = VectorCache(
            "audio", limit_bytes, redis_key, redis, ttl_s, weigh=lambda vectors: vectors.nbytes + ENTRY_BYTES
        )

    async def get(self, digest: str, deadline: float, embed: Callable[[str], Awaitable[Embedded]]) -> Embeddings:
        """A clip's window embeddings [k, d], cached or computed by `deadline`, in `time.monotonic()` seconds.

        `embed` computes them with the model of the fingerprint that it is given. Raises EmbeddingError.
        """
        info = self._embedder.info

        async def compute(_: list[Key]) -> list[Embeddings]:
            return [(await embed(info.fingerprint)).vectors]

        key = (info.fingerprint, digest)
        found = await self._cache.get([key], info.config.joint_dim, deadline, compute)
        return found[key]

    async def get_windows(
        self,
        clip: str,
        starts: Sequence[int],
        deadline: float,
        embed: Callable[[str, Sequence[int]], Awaitable[Embeddings]],
    ) -> list[Embeddings]:
        """The embedding [d] of each window of a clip, by where it begins in samples. `clip` names its samples.

        `embed` computes those of some starts with the model of a fingerprint. Raises EmbeddingError.
        """
        info = self._embedder.info
        keys = {(info.fingerprint, f"{clip}:{start}"): start for start in starts}

        async def compute(unknown: list[Key]) -> list[Embeddings]:
            vectors = await embed(info.fingerprint, [keys[key] for key in unknown])
            return [vectors[at : at + 1] for at in range(len(vectors))]

        found = await self._cache.get(list(keys), info.config.joint_dim, deadline, compute)
        return [found[key][0] for key in keys]

    async def flush(self) -> None:
        """Wait for the writes to Redis that are under way."""
        await self._cache.flush()
