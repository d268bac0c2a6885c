"""Cache of audio embeddings by content: a recording that was seen before costs no forward pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from model.prompts import Embeddings
from service.cache.redis_link import PREFIX, RedisLink
from service.cache.vector_cache import VectorCache
from service.ipc.embedding import Embedded, Embedder

Key = tuple[str, str]


def redis_key(key: Key) -> str:
    fingerprint, digest = key
    return f"{PREFIX}audio:{fingerprint}:{digest}"


class AudioCache:
    """Window embeddings by checkpoint and SHA-256 of the decoded windows: `limit_bytes` in the process, then Redis."""

    def __init__(self, embedder: Embedder, limit_bytes: int, redis: RedisLink | None, ttl_s: int) -> None:
        self._embedder = embedder
        self._cache: VectorCache[Key] = VectorCache(
            "audio", limit_bytes, redis_key, redis, ttl_s, weigh=lambda vectors: vectors.nbytes
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

    async def flush(self) -> None:
        """Wait for the writes to Redis that are under way."""
        await self._cache.flush()
