"""A changed password in the Secret takes effect without a restart of Redis: the chart's scripts with a real Redis."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from tests.deploy.chart import one
from tests.deploy.test_live import PASSWORD, redis, start

pytestmark = pytest.mark.usefixtures("helm")

OVERLAP_S = 10
NEW = "another password"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A Redis that the chart configures, with the sidecar beside it; `tmp_path/password` is the Secret."""
    with ExitStack() as stack:
        port = redis(stack, tmp_path)
        (tmp_path / "rotate.sh").write_text(one("ConfigMap", "cpu", component="redis")["data"]["rotate.sh"])
        command = ["sh", "./rotate.sh", "password", "anysound", str(tmp_path), "0.2", str(OVERLAP_S)]
        start(stack, command, tmp_path / "rotation.log", cwd=tmp_path)
        until(port, PASSWORD, True)
        yield port


def accepted(port: int, password: str) -> bool | None:
    """Whether Redis lets the service in; None while it does not answer."""
    try:
        with Redis(port=port, username="anysound", password=password, protocol=2) as client:
            return bool(client.ping())
    except AuthenticationError:
        return False
    except (RedisError, OSError):
        return None


def until(port: int, password: str, expected: bool) -> None:
    end = time.monotonic() + 30
    while accepted(port, password) is not expected:
        assert time.monotonic() < end, f"{password} is {'not ' * expected}accepted"
        time.sleep(0.05)


def test_both_passwords_are_valid_for_a_while_and_then_the_new_one_alone(port: int, tmp_path: Path) -> None:
    with Redis(port=port, username="anysound", password=PASSWORD, protocol=2) as client:
        client.set("anysound:v1:key", "value")
        (tmp_path / "password").write_text(NEW)
        until(port, NEW, True)
        assert accepted(port, PASSWORD), "pods that have not seen the new one yet go on"
        until(port, PASSWORD, False)
        assert accepted(port, NEW)
    with Redis(port=port, username="anysound", password=NEW, protocol=2) as client:
        assert client.get("anysound:v1:key") == b"value", "nothing was lost"


def test_the_user_that_reloads_can_do_nothing_else(port: int, tmp_path: Path) -> None:
    with Redis(
        port=port, username="rotation", password=(tmp_path / "rotation").read_text().strip(), protocol=2
    ) as redis:
        for command in (("GET", "anysound:v1:key"), ("ACL", "LIST"), ("CONFIG", "GET", "*"), ("FLUSHALL",), ("PING",)):
            with pytest.raises(RedisError, match=r"no permissions|NOPERM"):
                redis.execute_command(*command)


def test_no_password_is_in_the_files(port: int, tmp_path: Path) -> None:
    users = (tmp_path / "users.acl").read_text()
    assert PASSWORD not in users
    assert (tmp_path / "rotation").read_text().strip() not in users
    assert (tmp_path / "rotation").stat().st_mode & 0o777 == 0o600
    shown = subprocess.run(["ps", "-ef"], capture_output=True, text=True, check=True).stdout
    assert PASSWORD not in shown
