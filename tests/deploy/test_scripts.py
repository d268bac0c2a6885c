"""The two programs that the chart brings into pods: the one that fetches a checkpoint, and the load test."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from model.checkpoint import load
from tests.deploy.chart import CHART, ROOT
from tests.service.redis_server import free_port

Outcome = subprocess.CompletedProcess[str]


def run(script: str, *arguments: str) -> Outcome:
    command = [sys.executable, str(CHART / "files" / script), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder that is served over HTTP; `address` is a file in it."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        (folder / "address").write_text(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


@pytest.fixture
def archive(site: Path, tiny_folder: Path) -> list[str]:
    """Arguments for a checkpoint that is packed as default/ and served."""
    with tarfile.open(site / "tiny.tar", "w") as packed:
        packed.add(tiny_folder, "default")
    digest = hashlib.sha256((site / "tiny.tar").read_bytes()).hexdigest()
    return [f"--url={(site / 'address').read_text()}/tiny.tar", f"--sha256={digest}", "--path=default"]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def test_an_archive_becomes_a_checkpoint(archive: list[str], models: Path, tiny_folder: Path) -> None:
    fingerprint = load(tiny_folder).fingerprint
    done = run("checkpoint.py", f"--folder={models}", *archive, f"--fingerprint={fingerprint}")
    assert (done.returncode, done.stderr) == (0, "")
    assert load(models / "default").fingerprint == fingerprint
    assert [path.name for path in models.iterdir()] == ["default"]


def test_another_archive_is_refused_and_nothing_of_it_is_unpacked(archive: list[str], models: Path) -> None:
    done = run("checkpoint.py", f"--folder={models}", archive[0], f"--sha256={'0' * 64}", archive[2])
    assert done.returncode == 1
    assert f"not {'0' * 64}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(models.iterdir()) == []


def test_an_archive_cannot_write_beside_its_folder(site: Path, models: Path) -> None:
    with tarfile.open(site / "evil.tar", "w") as packed:
        packed.addfile(tarfile.TarInfo("../evil"), io.BytesIO())
    digest = hashlib.sha256((site / "evil.tar").read_bytes()).hexdigest()
    url = f"{(site / 'address').read_text()}/evil.tar"
    done = run("checkpoint.py", f"--folder={models}", f"--url={url}", f"--sha256={digest}")
    assert done.returncode == 1
    assert "outside the destination" in done.stderr
    assert not (models.parent / "evil").exists()


def test_an_archive_that_is_not_there_is_named(site: Path, models: Path) -> None:
    url = f"{(site / 'address').read_text()}/none.tar"
    done = run("checkpoint.py", f"--folder={models}", f"--url={url}", f"--sha256={'0' * 64}")
    assert done.returncode == 1
    assert "404" in done.stderr


def test_a_folder_without_a_checkpoint_is_named(models: Path) -> None:
    done = run("checkpoint.py", f"--folder={models}", "--path=default")
    assert done.returncode == 1
    assert done.stderr.strip() == f"checkpoint: no checkpoint at {models}/default: config.json is missing"


def test_a_checkpoint_with_another_fingerprint_is_refused(tiny_folder: Path) -> None:
    done = run("checkpoint.py", f"--folder={tiny_folder}", f"--fingerprint={'0' * 64}")
    assert done.returncode == 1
    assert "has fingerprint" in done.stderr


def test_the_load_test_reports_what_it_saw(address: str) -> None:
    bounds = ["--max-p95-ms=60000", "--max-failed-share=0"]
    done = run("load.py", f"--url={address}", "--rate=4", "--seconds=2", *bounds)
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert (report["requests"], report["statuses"]) == (8, {"200": 8})
    assert report["p50_ms"] <= report["p95_ms"]


def test_the_load_test_fails_where_a_bound_does_not_hold(address: str) -> None:
    assert run("load.py", f"--url={address}", "--rate=4", "--seconds=1", "--max-p95-ms=0.001").returncode == 1
    done = run("load.py", f"--url=http://127.0.0.1:{free_port()}", "--rate=4", "--seconds=1")
    assert done.returncode == 1
    assert json.loads(done.stdout)["failed_share"] == 1
