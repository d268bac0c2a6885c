"""The connection to Redis. Whatever state Redis is in, a request waits for it no longer than a budget."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import OutOfMemoryError, RedisError

from service.cache.breaker import Breaker

log = logging.getLogger("anysound.redis")

T = TypeVar("T")

PREFIX = "anysound:v1:"
"""Every key starts with it."""
PATIENT_S = 1.0
"""Time limit for work that is not on the path of a classification: writes, probes, new connections, label sets."""
CONNECTIONS = 16


class RedisFailed(Exception):
    """Redis did not answer in time, or answered with an error."""


class RedisBypassed(RedisFailed):
    """Redis was not asked because the breaker is open."""


class RedisFull(RedisFailed):
    """Redis answers but has no memory for more data."""


class PasswordFile(CredentialProvider):
    """Reads the password again for every new connection, so that it can be rotated without a restart."""

    def __init__(self, user: str | None, path: Path) -> None:
        self._user = user
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._path.read_text(encoding="utf-8").strip()
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()  # a small file: reading it is faster than starting a thread


def connect(url: str, password_file: Path | None = None, ca_file: Path | None = None) -> Redis:
    """A client that never retries; the library's default retries for four seconds.

    Raises ValueError if the URL is invalid, OSError if a file cannot be read.
    """
    options: dict[str, Any] = dict(parse_url(url))
    user, password = options.pop("username", None), options.pop("password", None)
    if password_file is not None:
        password_file.read_bytes()
        options["credential_provider"] = PasswordFile(user, password_file)
    else:
        options |= {"username": user, "password": password}
    if ca_file is not None:
        ca_file.read_bytes()
        if not url.startswith("rediss://"):
            raise ValueError("a certificate authority needs a rediss:// URL")
        options["ssl_ca_certs"] = str(ca_file)
    pool = BlockingConnectionPool(
        max_connections=CONNECTIONS,
        timeout=PATIENT_S,
        retry=Retry(NoBackoff(), 0),
        # With a socket timeout the library sends through asyncio.wait_for, which in Python 3.11 can swallow the
        # cancellation that enforces the budget of `ask`.
        socket_timeout=None,
        socket_connect_timeout=PATIENT_S,
        protocol=2,
        driver_info=None,
        **options,
    )
    return Redis.from_pool(pool)


class RedisLink:
    """A client with a time budget and a circuit breaker. `async with RedisLink(connect(url), read_s) as redis`.

    `read_s` is how long a request waits for one answer.
    """

    def __init__(self, client: Redis, read_s: float) -> None:
        self._client = client
        self._read_s = read_s
        self.breaker = Breaker(self._probe)

    async def __aenter__(self) -> RedisLink:
        # Connect now, not in the first request. Nothing waits for it: Redis may start later.
        self._warming = asyncio.create_task(self._warm_up())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._warming.cancel()
        await self.breaker.close()
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    async def ask(self, question: Callable[[Redis], Awaitable[T]], budget_s: float | None = None) -> T:
        """The answer to `question`, within `budget_s` (by default `read_s`). Raises RedisFailed."""
        if self.breaker.open:
            raise RedisBypassed
        era = self.breaker.era
        try:
            async with asyncio.timeout(self._read_s if budget_s is None else budget_s):
                answer = await question(self._client)
        except OutOfMemoryError as error:
            self.breaker.succeeded()  # a full server still answers reads
            raise RedisFull from error
        except (RedisError, OSError, TimeoutError) as error:
            self.breaker.failed(era)
            raise RedisFailed(type(error).__name__) from error
        self.breaker.succeeded()
        return answer

    async def _probe(self) -> None:
        async with asyncio.timeout(PATIENT_S):
            await self._client.ping()

    async def _warm_up(self) -> None:
        try:
            await self._probe()
            memory = await self._client.info("memory")
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("Redis does not answer yet, or INFO is not allowed: %s", type(error).__name__)
            return
        if str(memory.get("maxmemory_policy", "")).startswith("allkeys"):
            log.warning("Redis may evict label sets; set its maxmemory-policy to volatile-lfu")
