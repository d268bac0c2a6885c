"""Hub ids: what they name, and the errors where they cannot be fetched. The hub is a local server with its routes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from model.checkpoint import read_config
from model.hub import HubError, HubModel, parse, resolve, source_of
from tests.model.importers.peers import write_transformers_clap

ROOT = Path(__file__).parents[2]
COMMIT = "a" * 40
NOWHERE = "http://127.0.0.1:9"


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


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, bool], None]:
    """Sets the hub's address and whether we are offline; caches are empty and this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)

    def reach(address: str, offline: bool) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)

    return reach


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


def test_a_repository_is_fetched_and_converted_once_and_then_needs_no_network(
    hub: str, reach: Callable[[str, bool], None]
) -> None:
    reach(hub, False)
    folder = resolve("owner/clap")
    config = read_config(folder)
    assert config.name == "owner/clap"
    assert config.sources[0] == f"owner/clap at commit {COMMIT}"
    written = (folder / "model.safetensors").stat().st_mtime_ns
    reach(NOWHERE, True)
    assert resolve("owner/clap") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_a_repository_that_holds_a_checkpoint_of_ours_is_served_as_it_is(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.hub.fetch", lambda _, __: tiny_folder)
    assert resolve("owner/tiny") == tiny_folder


@pytest.mark.parametrize(
    ("model", "there", "offline", "complaint"),
    [
        ("owner/clap", True, True, "owner/clap is not in the cache .*, and HF_HUB_OFFLINE is set"),
        (
            "microsoft/msclap@2022",
            False,
            False,
            "microsoft/msclap is not in the cache .*, and the hub cannot be reached",
        ),
        ("owner/other", True, False, "owner/other cannot be fetched: it does not exist"),
    ],
)
def test_what_cannot_be_had_is_told_in_one_line(
    hub: str, reach: Callable[[str, bool], None], model: str, there: bool, offline: bool, complaint: str
) -> None:
    reach(hub if there else NOWHERE, offline)
    with pytest.raises(HubError, match=complaint) as caught:
        resolve(model)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_told_in_one_line(
    hub: str, reach: Callable[[str, bool], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    reach(hub, False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(HubError, match=r"owner/clap cannot be converted into .*: Not a directory"):
        resolve("owner/clap")


def test_the_service_ends_with_that_line(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "anysound", "serve", "--port", "0", "--model", "laion/clap-htsat-unfused"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("laion/clap-htsat-unfused is not in the cache")


def test_a_checkpoint_of_another_kind_than_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.hub.fetch", lambda _, __: ROOT)
    with pytest.raises(HubError, match="is of kind transformers, not msclap-2022"):
        source_of("msclap-2022", "owner/clap")
