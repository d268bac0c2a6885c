"""The service in poor surroundings: no user name, no home, no locale, no temporary directory, no room on the disk."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from service.settings import Settings
from service.supervise.supervisor import listening as listen
from tests.conftest import ROOT, listening, until_ready
from tests.service.conftest import encoded
from tests.service.redis_server import free_port

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a file system or to be another user")
AS_NOBODY = ("unshare", "--user", "--map-user=54321", "--map-group=54321")
"""Runs a command as a user who is in no password database."""
CLIP = encoded(np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32), rate=8_000)
QUIET = "--audio-cache-bytes=0"


@contextmanager
def serving(
    log: Path, *flags: str, before: Sequence[str] = (), **options: Any
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    command = [*before, sys.executable, "-m", "anysound", "serve", "--port", "0", *flags]
    with log.open("wb") as errors, subprocess.Popen(command, cwd=ROOT, stderr=errors, **options) as server:
        try:
            address = listening(log)
            for _ in range(10):  # each answered by any of the API processes
                until_ready(address)
            yield address, server
        finally:
            server.terminate()


def classify(address: str, *labels: str) -> httpx2.Response:
    params = {"labels": list(labels)}
    return httpx2.post(
        f"{address}/v1/classify", params=params, content=CLIP, headers={"Content-Type": "audio/wav"}, timeout=30
    )


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="anysound-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(subprocess.run([*AS_NOBODY, "true"], capture_output=True).returncode != 0, reason="no namespaces")
def test_a_user_without_name_home_and_locale_is_served(place: Path, tiny_folder: Path) -> None:
    """The environment after `docker run --user 54321`, with variables that are set but empty, and a long TMPDIR."""
    shutil.copytree(tiny_folder, place / "checkpoint")
    temporary = place / "a long path".replace(" ", "-") / ("d" * 100)
    temporary.mkdir(parents=True)
    empty = {f"ANYSOUND_{name.upper()}": "" for name in Settings.model_fields}
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **empty}
    environment |= {"TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    log = place / "log"
    with serving(log, "--model", str(place / "checkpoint"), before=AS_NOBODY, env=environment) as (address, _):
        answer = classify(address, "狗叫", "下雨")
        assert answer.status_code == 200
        assert {score["label"] for score in answer.json()["results"][0]["scores"]} == {"狗叫", "下雨"}
    assert "too long for sockets: using /tmp for temporary files" in log.read_text()
    assert "Traceback" not in log.read_text()


@as_root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_without_a_writable_temporary_directory_it_says_so_in_one_line(tmp_path: Path) -> None:
    mounts = " && ".join(f"mount -t tmpfs -o ro none {place}" for place in ("/tmp", "/var/tmp", "/dev/shm"))  # noqa: S108
    serve = f"{mounts} && exec {sys.executable} -m anysound serve --port 0"
    environment = {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "TEMP", "TMP")}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", serve], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "there is no directory for temporary files (/tmp: Read-only file system; " in line
    assert line.endswith("): set TMPDIR")


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = place / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    assert shutil.disk_usage(disk).free == 0


@as_root
def test_a_full_disk_costs_no_request(small_disk: Path, tiny_folder: Path, tmp_path: Path) -> None:
    """What is counted afterwards needs new pages for new series: on a map of a file they would raise SIGBUS."""
    flags = ("--model", str(tiny_folder), "--api-processes", "2", QUIET)
    environment = {**os.environ, "TMPDIR": str(small_disk)}
    with serving(tmp_path / "log", *flags, env=environment) as (address, server):
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
        fill(small_disk)
        for number in range(20):
            answer = classify(address, "dog", f"sound {number}")
            assert answer.status_code == 200, answer.text
        for path in ("/", "/v1/model", "/v1/label-sets", "/v1/label-sets/none", "/openapi.json", "/startupz"):
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
                assert httpx2.request(method, address + path).status_code < 500, (method, path)
        metrics = httpx2.get(f"{address}/metrics")
        assert metrics.status_code == 200
        assert 'anysound_http_request_duration_seconds_count{code="200"' in metrics.text
        assert classify(address, "dog", "rain").status_code == 200
        assert Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text() == children, "nothing was restarted"


def test_the_address_of_all_interfaces_serves_both_families() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("there is no IPv6 here")
    with listen("::", 0) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=5):
                pass


def test_an_address_that_is_taken_is_named() -> None:
    port = free_port()
    with listen("127.0.0.1", port), pytest.raises(OSError, match="Address already in use") as raised:
        listen("127.0.0.1", port)
    assert raised.value.strerror == f"cannot listen on 127.0.0.1:{port}: Address already in use"
