"""The way to Redis, which may be slow, full, gone or wrong, and must not hold up a request for longer than a budget."""

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
"""Of every key: what an access list has to allow."""
READ_S = 0.05
PATIENT_S = 1.0
"""Longest time for what no request waits for: writes behind the answer, probes, new connections."""
CONNECTIONS = 16
EVICTS_ANYTHING = "allkeys"


class RedisFailed(Exception):
    """Redis gave no answer, not in time, or an error."""


class RedisBypassed(RedisFailed):
    """Redis was not asked: it has failed too often."""


class RedisFull(RedisFailed):
    """Redis answers and takes no more data."""


class PasswordFile(CredentialProvider):
    """Reads the password for every new connection, so that a secret may be rotated without a restart."""

    def __init__(self, user: str | None, path: Path) -> None:
        self._user = user
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._path.read_text(encoding="utf-8").strip()
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()  # a file of a few bytes: quicker than a thread


def connect(url: str, password_file: Path | None = None, ca_file: Path | None = None) -> Redis:
    """A client that never retries. The library's own would wait four seconds for a server that is gone.

    Raises ValueError for a URL that is none, OSError for a file that cannot be read.
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
            raise ValueError("a certificate authority is of use only with rediss://")
        options["ssl_ca_certs"] = str(ca_file)
    pool = BlockingConnectionPool(
        max_connections=CONNECTIONS,
        timeout=PATIENT_S,
        retry=Retry(NoBackoff(), 0),
        # With a timeout of its own the library sends through asyncio.wait_for, which in Python 3.11 may lose a
        # cancellation, and the budget of `ask` with it.
        socket_timeout=None,
        socket_connect_timeout=PATIENT_S,
        protocol=2,
        driver_info=None,
        **options,
    )
    return Redis.from_pool(pool)


class RedisLink:
    """A client behind a budget and a breaker. `async with RedisLink(connect(url)) as redis`.

    `read_s` is the longest time that a request waits for one answer.
    """

    def __init__(self, client: Redis, read_s: float = READ_S) -> None:
        self._client = client
        self._read_s = read_s
        self.breaker = Breaker(self._probe)

    async def __aenter__(self) -> RedisLink:
        # A connection is made now, not by the first request; a server that is not there yet delays nothing.
        self._greeting = asyncio.create_task(self._greet())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._greeting.cancel()
        await self.breaker.close()
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    async def ask(self, question: Callable[[Redis], Awaitable[T]], budget_s: float | None = None) -> T:
        """The answer to one question, within `budget_s` or what a request may wait. Raises RedisFailed."""
        if self.breaker.open:
            raise RedisBypassed
        era = self.breaker.era
        try:
            async with asyncio.timeout(self._read_s if budget_s is None else budget_s):
                answer = await question(self._client)
        except OutOfMemoryError as error:
            self.breaker.succeeded()  # a full server still reads
            raise RedisFull from error
        except (RedisError, OSError, TimeoutError) as error:
            self.breaker.failed(era)
            raise RedisFailed(type(error).__name__) from error
        self.breaker.succeeded()
        return answer

    async def _probe(self) -> None:
        async with asyncio.timeout(PATIENT_S):
            await self._client.ping()

    async def _greet(self) -> None:
        try:
            await self._probe()
            memory = await self._client.info("memory")
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("Redis does not answer yet, or does not tell its policy: %s", type(error).__name__)
            return
        if str(memory.get("maxmemory_policy", "")).startswith(EVICTS_ANYTHING):
            log.warning("Redis may evict label sets: set its maxmemory-policy to volatile-lfu")
