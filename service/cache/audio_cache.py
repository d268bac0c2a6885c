"""Audio embeddings by content: the same recording with new labels costs no forward pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from model.prompts import Embeddings
from service.cache.redis_link import PREFIX, RedisLink
from service.cache.vector_cache import VectorCache
from service.ipc.embedding import Embedded, Embedder

Key = tuple[str, str]


def redis_key(key: Key) -> str:
    fingerprint, digest = key
    return f"{PREFIX}audio:{fingerprint}:{digest}"


@dataclass(frozen=True)
class Recalled:
    """A clip's window embeddings [k, d], what computing them took where they were not kept, and when that began."""

    vectors: Embeddings
    compute_s: float
    looked_up_at: float


class AudioCache:
    """Window embeddings by checkpoint and SHA-256 of the decoded windows: up to `limit_bytes` here, then Redis."""

    def __init__(
        self, embedder: Embedder, limit_bytes: int, redis: RedisLink | None = None, ttl_s: int = 86_400
    ) -> None:
        self._embedder = embedder
        self._cache: VectorCache[Key] = VectorCache(
            "audio", limit_bytes, redis_key, redis, ttl_s, weigh=lambda vectors: vectors.nbytes, persist=False
        )

    async def get(self, digest: str, embed: Callable[[], Awaitable[Embedded]]) -> Recalled:
        """Raises what `embed` raises."""
        info = self._embedder.info
        took: list[float] = []

        async def compute(_: list[Key]) -> list[Embeddings]:
            embedded = await embed()
            took.append(embedded.compute_s)
            return [embedded.vectors]

        key = (info.fingerprint, digest)
        found = await self._cache.get([key], info.config.joint_dim, compute)
        return Recalled(found.vectors[key], sum(took), found.looked_up_at)

    async def settle(self) -> None:
        """Wait for what is being written to Redis."""
        await self._cache.settle()
