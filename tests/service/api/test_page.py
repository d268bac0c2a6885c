"""The page over HTTP: its files, their caching, its policy. What it does in a browser is tested in tests/page."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.api.page_files import FOLDER, read_page
from tests.service.conftest import Serve

FILES = sorted(read_page(""))
MAX_COMPRESSED_BYTES = 150_000


def test_the_page_is_html_under_a_policy_that_allows_this_origin_only(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert not re.search(r"unsafe|\*|https?:", policy)
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_with_its_type_and_confirmed_by_its_etag(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    if name.endswith(".js"):
        assert answer.headers["content-type"].startswith("text/javascript")
    again = client.get(f"/page/{name}", headers={"If-None-Match": f'"other", W/{answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"]
    head = client.head(f"/page/{name}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize(
    ("accepted", "compressed"), [("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("br", False)]
)
def test_text_is_compressed_for_those_who_accept_it(client: TestClient, accepted: str, compressed: bool) -> None:
    answer = client.get("/page/page.css", headers={"Accept-Encoding": accepted})
    assert ("content-encoding" in answer.headers) == compressed
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.content == (FOLDER / "page.css").read_bytes()


def test_a_recording_is_not_compressed(client: TestClient) -> None:
    answer = client.get("/page/examples/crow.flac")
    assert answer.headers["content-type"] == "audio/flac"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("name", ["", "nothing.js", "../page_files.py", "%2e%2e/page_files.py", "wavesurfer"])
def test_another_path_is_no_file(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_the_page_needs_no_key(serve: Serve, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a" * 64)
    client = serve(api_keys_file=keys)
    assert [client.get(path).status_code for path in ("/", "/page/main.js", "/v1/model")] == [200, 200, 401]


@pytest.mark.parametrize("asked", ["/", "/sounds/", "/sounds"])
def test_under_a_prefix_the_page_refers_to_files_there(serve: Serve, asked: str) -> None:
    client = serve(root_path="/sounds")
    assert '<base href="/sounds/">' in client.get(asked).text
    assert client.get("/sounds/page/main.js").status_code == 200


def test_every_file_that_a_file_names_exists() -> None:
    for name in FILES:
        if not name.endswith((".js", ".html")) or name.startswith("wavesurfer/"):
            continue
        text = (FOLDER / name).read_text()
        for found in re.findall(r"""(?:from|URL\() ?"(?:\./)?([\w./]+)"|(?:src|href)="page/([^"]+)\"""", text):
            assert "".join(found) in FILES, f"{name} names {found}"
    examples = re.findall(r'data-example="([^"]+)"', (FOLDER / "index.html").read_text())
    assert examples
    assert {f"examples/{example}" for example in examples} <= set(FILES)


def test_nothing_is_loaded_from_elsewhere() -> None:
    for name in FILES:
        if name.endswith((".js", ".css", ".html")) and not name.startswith("wavesurfer/"):
            text = (FOLDER / name).read_text().replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?://\w", text), name


def test_the_page_is_small() -> None:
    loaded = {
        name: file for name, file in read_page("").items() if file.compressed and not name.startswith("examples/")
    }
    assert sum(len(file.compressed or b"") for file in loaded.values()) < MAX_COMPRESSED_BYTES
    assert all(gzip.decompress(file.compressed or b"") == file.content for file in loaded.values())


def test_wavesurfer_is_the_published_package() -> None:
    folder = FOLDER / "wavesurfer"
    lock = json.loads((folder / "lock.json").read_text())
    assert lock["package"] == "wavesurfer.js@8.0.1"
    assert lock["integrity"].startswith("sha512-")
    assert {path.name for path in folder.iterdir()} == {*lock["files"], "lock.json"}
    for name, file in lock["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == file["sha256"], name
