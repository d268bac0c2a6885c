"""Redis clients from URLs: users, passwords, TLS and options."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.cache.redis_client import connect
from service.cache.redis_link import RedisFailed, RedisLink
from service.settings import SettingsError
from tests.service.cache.test_redis_link import hello
from tests.service.conftest import Serve
from tests.service.redis_server import PASSWORD, READ_S, USER, RedisServer


async def test_tls_with_a_user_and_a_password_from_a_file(tls_server: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    url = f"rediss://{USER}@127.0.0.1:{tls_server.port}/0"
    async with RedisLink(connect(url, tmp_path / "password", tls_server.folder / "ca.crt"), READ_S) as redis:
        assert await redis.ask(hello, 1.0) is None


async def test_a_rotated_password_is_read_for_the_next_connection(redis_server: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("yesterday's")
    async with RedisLink(connect(f"redis://{USER}@127.0.0.1:{redis_server.port}", file), READ_S) as redis:
        with pytest.raises(RedisFailed):
            await redis.ask(hello, 1.0)
        file.write_text(PASSWORD)
        assert await redis.ask(hello, 1.0) is None


async def test_a_certificate_of_an_unknown_authority_is_refused(tls_server: RedisServer) -> None:
    async with RedisLink(connect(tls_server.url), READ_S) as redis:
        with pytest.raises(RedisFailed):
            await redis.ask(hello, 1.0)


async def test_a_certificate_is_not_checked_if_the_url_says_so(tls_server: RedisServer) -> None:
    async with RedisLink(connect(f"{tls_server.url}?ssl_cert_reqs=none"), read_s=5) as redis:
        assert await redis.ask(hello) is None


async def test_options_of_the_url_hold(redis_server: RedisServer) -> None:
    options = "client_name=mine&max_connections=2&health_check_interval=5&socket_keepalive=true"
    # The user of the documentation may not name its connections.
    url = f"redis://admin:admin@127.0.0.1:{redis_server.port}/1"
    async with RedisLink(connect(f"{url}?{options}"), read_s=5) as redis:
        assert await redis.ask(hello) is None
        assert b"name=mine" in redis_server.admin("CLIENT", "LIST")
        assert b"db=1" in redis_server.admin("CLIENT", "LIST")


@pytest.mark.parametrize(
    ("url", "files"),
    [
        ("http://x", {}),
        ("redis://x", {"password_file": Path("/nowhere")}),
        ("rediss://x", {"ca_file": Path("/nowhere")}),
        ("redis://x", {"ca_file": Path(__file__)}),
        ("redis://x:99999", {}),
        ("redis://x/cache", {}),
        ("redis://x?db=-1", {}),
        ("redis://x?max_connections=0", {}),
        ("redis://x?ssl_cert_reqs=none", {}),
        ("rediss://x?ssl_cert_reqs=nothing", {}),
        ("rediss://x?ssl_certfile=/nowhere", {}),
        ("rediss://x?ssl_min_version=5", {}),
        ("rediss://x?ssl_ciphers=none", {}),
    ],
)
async def test_what_cannot_be_connected_to_is_said_at_the_start(url: str, files: dict[str, Path]) -> None:
    with pytest.raises((ValueError, OSError)):
        connect(url, **files)


def test_a_service_whose_redis_cannot_be_is_told_at_the_start(serve: Serve) -> None:
    with pytest.raises(SettingsError, match="cannot use Redis"):
        serve(redis_url="http://not-redis")


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("sokcet_keepalive=1", "'sokcet_keepalive' is unknown"),
        ("decode_responses=True", "decode_responses is not supported: embeddings are bytes"),
        ("socket_timeout=5", "socket_timeout is not supported: the setting redis_timeout_s"),
        ("protocol=3", "'protocol' is unknown"),
    ],
)
def test_an_option_that_cannot_hold_is_one_line_at_the_start(option: str, reason: str, serve: Serve) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        serve(redis_url=f"redis://user:secret@host?{option}")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
