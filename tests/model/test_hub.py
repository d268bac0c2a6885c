"""Hub ids: what they stand for, and what is said where they cannot be had. The hub is a local server of its routes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from model.checkpoint import read_config
from model.hub import HubError, HubModel, parse, resolve, source_of
from tests.model.importers.peers import write_transformers_clap

ROOT = Path(__file__).parents[2]
COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """One repository, owner/clap, with the files of `folder`."""

    folder: Path

    def do_HEAD(self) -> None:
        self.answer(head=True)

    def do_GET(self) -> None:
        self.answer(head=False)

    def answer(self, head: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        files = sorted(self.folder.iterdir())
        if path in ("/api/models/owner/clap", "/api/models/owner/clap/revision/main"):
            siblings = [{"rfilename": file.name} for file in files]
            return self.send(json.dumps({"id": "owner/clap", "sha": COMMIT, "siblings": siblings}).encode(), head)
        if path == f"/api/models/owner/clap/tree/{COMMIT}":
            entries = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": self.etag(file)}
                for file in files
            ]
            return self.send(json.dumps(entries).encode(), head)
        name = path.removeprefix(f"/owner/clap/resolve/{COMMIT}/")
        if "/" not in name and (self.folder / name).exists():
            file = self.folder / name
            return self.send(file.read_bytes(), head, {"ETag": f'"{self.etag(file)}"', "X-Repo-Commit": COMMIT})
        return self.send(b'{"error": "Repository not found"}', head, {"X-Error-Code": "RepoNotFound"}, 404)

    @staticmethod
    def etag(file: Path) -> str:
        return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()

    def send(self, body: bytes, head: bool, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if not head:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a hub that has owner/clap."""
    folder = tmp_path_factory.mktemp("hub") / "clap"
    write_transformers_clap(folder)
    handler = type("OneRepository", (Hub,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(model: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m model.hub MODEL` in a home of its own."""
    variables = {
        **os.environ,
        "HF_HOME": str(home / "huggingface"),
        "XDG_CACHE_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **environment,
    }
    command = [sys.executable, "-W", "ignore", "-m", "model.hub", model]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("laion/clap-htsat-unfused", HubModel("laion/clap-htsat-unfused")),
        ("laion/clap-htsat-fused@1f2e3d", HubModel("laion/clap-htsat-fused", None, "1f2e3d")),
        ("microsoft/msclap@2022", HubModel("microsoft/msclap", "2022")),
        ("microsoft/msclap@2023@main", HubModel("microsoft/msclap", "2023", "main")),
        ("lukewys/laion_clap@630k-best", HubModel("lukewys/laion_clap", "630k-best")),
        ("/srv/checkpoints/mine", None),
        ("./mine/checkpoint", None),
        ("checkpoint", None),
        ("a/b/c", None),
    ],
)
def test_a_hub_id_names_a_repository_a_release_and_a_revision(text: str, model: HubModel | None) -> None:
    assert parse(text) == model


@pytest.mark.parametrize("text", ["microsoft/msclap", "microsoft/msclap@2021", "laion/clap-htsat-fused@a@b"])
def test_an_id_that_could_be_several_models_or_none_is_refused(text: str) -> None:
    with pytest.raises(HubError, match=r"which of its models|more than one revision"):
        parse(text)


def test_a_directory_stands_for_itself(tiny_folder: Path) -> None:
    assert resolve(tiny_folder) == tiny_folder
    assert resolve(str(tiny_folder)) == tiny_folder


def test_a_repository_is_fetched_and_converted_once_and_then_needs_no_network(hub: str, tmp_path: Path) -> None:
    first = ask("owner/clap", tmp_path, HF_ENDPOINT=hub)
    assert first.returncode == 0, first.stderr
    folder = Path(first.stdout.strip())
    config = read_config(folder)
    assert config.name == "owner/clap"
    assert config.sources[0] == f"owner/clap at commit {COMMIT}"
    written = (folder / "model.safetensors").stat().st_mtime_ns
    offline = ask("owner/clap", tmp_path, HF_HUB_OFFLINE="1")
    assert offline.stdout == first.stdout, offline.stderr
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("model", "environment", "complaint"),
    [
        ("owner/clap", {"HF_HUB_OFFLINE": "1"}, "is not in the cache"),
        ("microsoft/msclap@2022", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the hub cannot be reached"),
        ("owner/other", {}, "owner/other cannot be fetched: not there"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    hub: str, tmp_path: Path, model: str, environment: dict[str, str], complaint: str
) -> None:
    done = ask(model, tmp_path, **{"HF_ENDPOINT": hub, **environment})
    assert done.returncode == 1
    assert complaint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_checkpoint_of_another_kind_than_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def cached(_: HubModel, patterns: tuple[str, ...]) -> Path:
        return ROOT

    monkeypatch.setattr("model.hub.fetch", cached)
    with pytest.raises(HubError, match="is of the kind transformers, not msclap-2022"):
        source_of("msclap-2022", "owner/clap")
