"""Cache of prompt embeddings: each prompt is embedded once, even if many requests ask for it at the same time."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

from model.prompts import Embeddings
from service.cache.redis_link import PREFIX, RedisLink
from service.cache.vector_cache import VectorCache
from service.ipc.embedding import Embedder, Priority

Key = tuple[str, str]


def normalised(prompt: str) -> str:
    """Unicode NFC with single spaces, so that spellings which look the same share one entry."""
    return " ".join(unicodedata.normalize("NFC", prompt).split())


def redis_key(key: Key) -> str:
    fingerprint, prompt = key
    return f"{PREFIX}text:{fingerprint}:{hashlib.blake2b(prompt.encode(), digest_size=16).hexdigest()}"


class PromptCache:
    """Embeddings by checkpoint and prompt: the latest `size` in the process, then Redis, then the worker."""

    def __init__(self, embedder: Embedder, size: int, redis: RedisLink | None, ttl_s: int) -> None:
        self._embedder = embedder
        self._cache: VectorCache[Key] = VectorCache("text", size, redis_key, redis, ttl_s)

    async def get(self, prompts: Sequence[str], deadline: float, priority: Priority) -> dict[str, Embeddings]:
        """The embedding [d] of each prompt, computed by `deadline` if it is not cached, in `time.monotonic()` seconds.

        Raises EmbeddingError.
        """
        info = self._embedder.info

        async def embed(keys: list[Key]) -> list[Embeddings]:
            texts = [prompt for _, prompt in keys]
            embedded = await self._embedder.embed_text(
                texts, deadline=deadline, priority=priority, fingerprint=info.fingerprint
            )
            return [vector[None] for vector in embedded.vectors]

        keys = {prompt: (info.fingerprint, normalised(prompt)) for prompt in prompts}
        found = await self._cache.get(list(dict.fromkeys(keys.values())), info.config.joint_dim, deadline, embed)
        return {prompt: found[key][0] for prompt, key in keys.items()}

    async def flush(self) -> None:
        """Wait for the writes to Redis that are under way."""
        await self._cache.flush()
