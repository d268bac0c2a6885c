"""The keys file: what is read, what is refused, and how a key is given."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from service.api.keys import Keys, KeysError, read_keys
from service.api.problems import Problem
from tests.conftest import ROOT


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def file(folder: Path, *lines: str) -> Path:
    """A keys file, newer than the one before."""
    path = folder / "keys"
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text("\n".join([*lines, ""]))
    os.utime(path, ns=(before + 10**9, before + 10**9))
    return path


def bearer(key: str, scheme: str = "Bearer") -> Headers:
    return Headers({"authorization": f"{scheme} {key}"})


def refused(keys: Keys, headers: Headers) -> bool:
    try:
        keys.check(headers)
    except Problem:
        return True
    return False


def test_keys_of_one_name_are_one_caller_and_a_key_without_a_name_is_its_own(tmp_path: Path) -> None:
    lines = [f"{digest('old')} team-a", f"{digest('new').upper()} team-a  # rotated in May", digest("x"), digest("y")]
    keys = Keys(file(tmp_path, *lines))
    assert keys.check(bearer("old")) == keys.check(bearer("new")) == "team-a"
    x, y = keys.check(bearer("x")), keys.check(bearer("y"))
    assert len({x, y, "team-a"}) == 3


def test_the_name_of_a_caller_reveals_neither_key_nor_hash(tmp_path: Path) -> None:
    name = Keys(file(tmp_path, digest("secret"))).check(bearer("secret"))
    assert name is not None
    assert name not in (digest("secret"), "secret")
    assert not digest("secret").startswith(name)


@pytest.mark.parametrize("text", ["", "\n", "\r\n"])
def test_the_hash_of_an_unset_variable_is_refused_with_the_reason(text: str, tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="keys:2: this is the hash of an empty key"):
        read_keys(file(tmp_path, digest("good"), digest(text)))


def test_the_command_of_the_deploy_page_refuses_an_unset_variable(tmp_path: Path) -> None:
    [command] = {line for line in (ROOT / "docs/deploy.md").read_text().splitlines() if "sha256sum" in line}
    for environment, passes in (({}, False), ({"KEY": ""}, False), ({"KEY": "good"}, True)):
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env={**environment, "PATH": os.environ["PATH"]})
        assert (done.returncode == 0) == passes
        if passes:
            assert Keys(tmp_path / "keys").check(bearer("good"))


@pytest.mark.parametrize(
    "line",
    [
        f"{digest('a')} {'1' * 64}",
        f"{digest('a')} a b",
        f"{digest('a')} {'n' * 32}",
        f"{digest('a')} ümlaut",
        "x",
        "1" * 63,
    ],
)
def test_a_line_that_makes_no_sense_is_refused_by_its_number(line: str, tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="keys:2: "):
        read_keys(file(tmp_path, digest("good"), line))


def test_one_key_cannot_belong_to_two_callers(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="keys:2: "):
        read_keys(file(tmp_path, f"{digest('a')} one", f"{digest('a')} two"))


def test_a_file_that_is_no_text_is_refused_and_one_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KeysError, match="UTF-8"):
        read_keys(tmp_path / "keys")
    (tmp_path / "keys").write_bytes(b"\xef\xbb\xbf" + digest("a").encode() + b"\r\n")
    assert len(read_keys(tmp_path / "keys")) == 1


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "])
def test_the_scheme_may_be_written_in_any_case(scheme: str, tmp_path: Path) -> None:
    assert Keys(file(tmp_path, digest("key"))).check(bearer("key", scheme))


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "key"}, {"authorization": "Basic key"}, {"authorization": ""}]
)
def test_any_other_scheme_is_no_key(headers: dict[str, str], tmp_path: Path) -> None:
    assert refused(Keys(file(tmp_path, digest("key"))), Headers(headers))


def test_a_key_may_hold_any_character(tmp_path: Path) -> None:
    headers = Headers(raw=[(b"x-api-key", "schlüssel".encode())])
    assert Keys(file(tmp_path, digest("schlüssel"))).check(headers)


# While serving


@pytest.mark.parametrize("content", [b"", b"not a hash\n", digest("").encode(), b"\xff\xfe"])
def test_the_old_keys_go_on_while_the_file_is_invalid_and_one_line_says_so(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys(file(tmp_path, digest("old")))
    (tmp_path / "keys").write_bytes(content)
    for _ in range(3):
        assert not refused(keys, bearer("old"))
        assert refused(keys, bearer(""))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    file(tmp_path, digest("new"))
    assert refused(keys, bearer("old"))
    assert not refused(keys, bearer("new"))


def test_the_old_keys_go_on_while_the_file_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = Keys(file(tmp_path, digest("old")))
    (tmp_path / "keys").rename(tmp_path / "away")
    for _ in range(3):
        assert not refused(keys, bearer("old"))
    assert len(caplog.records) == 1
