"""A Redis client from a URL. The URL and its options are checked completely before the first connection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError

CONNECT_S = 1.0
CONNECTIONS = 16
LEAST = {"db": 0, "health_check_interval": 0, "max_connections": 1, "socket_connect_timeout": 0.01}
"""Options that take a number, and the smallest allowed value of each."""
OPTIONS = {*LEAST, "client_name", "socket_keepalive"}
TLS_OPTIONS = {
    *("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_check_hostname"),
    *("ssl_cert_reqs", "ssl_ciphers", "ssl_keyfile", "ssl_min_version", "ssl_password"),
}
ADDRESS = {"host", "port", "path", "connection_class"}
REASONS = {
    "socket_timeout": "the setting redis_timeout_s limits how long a request waits for Redis",
    "timeout": "the setting redis_timeout_s limits how long a request waits for Redis",
    "decode_responses": "embeddings are bytes and cannot be decoded",
    "retry_on_timeout": "a request never waits for a second try",
}


class PasswordFile(CredentialProvider):
    """Reads the password again for every new connection, so that it can be rotated without a restart."""

    def __init__(self, user: str | None, path: Path) -> None:
        self._user = user
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            password = self._path.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            raise OSError(f"{self._path} is not a text file in UTF-8") from None
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()  # a small file: reading it is faster than starting a thread


def connect(url: str, password_file: Path | None = None, ca_file: Path | None = None) -> Redis:
    """A client that never retries; the library's default retries for four seconds.

    Raises ValueError if the URL or one of its options is invalid, OSError if a file cannot be read.
    """
    options: dict[str, Any] = dict(parse_url(url))
    user, password = options.pop("username", None), options.pop("password", None)
    with_tls = options.get("connection_class") is SSLConnection
    check_options({name: value for name, value in options.items() if name not in ADDRESS}, with_tls)
    check_database(url)
    if password_file is not None:
        credentials = PasswordFile(user, password_file)
        credentials.get_credentials()
        options["credential_provider"] = credentials
    else:
        options |= {"username": user, "password": password}
    if ca_file is not None:
        ca_file.read_bytes()
        if not with_tls:
            raise ValueError("a certificate authority needs a rediss:// URL")
        options["ssl_ca_certs"] = str(ca_file)
    pool = BlockingConnectionPool(
        **{"max_connections": CONNECTIONS, "socket_connect_timeout": CONNECT_S} | options,
        timeout=CONNECT_S,
        retry=Retry(NoBackoff(), 0),
        # With a socket timeout the library sends through asyncio.wait_for, which in Python 3.11 can swallow the
        # cancellation that enforces the budget of `RedisLink.ask`.
        socket_timeout=None,
        protocol=2,
        driver_info=None,
    )
    try:
        connection = pool.make_connection()  # type: ignore[no-untyped-call]
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()
    except (RedisError, TypeError) as error:
        raise ValueError(str(error)) from None
    return Redis.from_pool(pool)


def check_options(options: dict[str, Any], with_tls: bool) -> None:
    """Raise ValueError for an option of the URL that has no effect or that the service cannot work with."""
    for name, value in options.items():
        if name in LEAST and value < LEAST[name]:
            raise ValueError(f"the option {name} is at least {LEAST[name]}")
        if name in TLS_OPTIONS and not with_tls:
            raise ValueError(f"the option {name} needs a rediss:// URL")
        if name in REASONS:
            raise ValueError(f"the option {name} is not supported: {REASONS[name]}")
        if name not in OPTIONS | TLS_OPTIONS:
            known = ", ".join(sorted(OPTIONS | TLS_OPTIONS))
            raise ValueError(f"the option {name[:50]!r} is unknown; the options are {known}")


def check_database(url: str) -> None:
    """Raise ValueError for a path that is not the number of a database; the library would ignore it."""
    parts = urlsplit(url)
    if parts.scheme != "unix" and not re.fullmatch(r"/?|/\d{1,5}", parts.path):
        raise ValueError(f"the path {parts.path[:50]!r} is not the number of a database, as in redis://host:6379/0")
