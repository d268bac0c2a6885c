"""The built site: its links, its version, its search without a network."""

from __future__ import annotations

import functools
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from playwright.sync_api import expect

from tests.docs.browsing import MOST_MS, opened
from tests.page.browser import chromium

LOADING = {("script", "src"), ("img", "src"), ("source", "src"), ("link", "href"), ("iframe", "src"), ("audio", "src")}
NOT_LOADED = {"canonical", "prev", "next", "alternate"}
"""Values of `rel` of links that a browser does not load."""


class Document(HTMLParser):
    """The anchors of an HTML document, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if given.get("rel") not in NOT_LOADED:
            self.loads += [given[name] for kind, name in LOADING if kind == tag and name in given]


@pytest.fixture(scope="module")
def documents(site: Path) -> dict[str, Document]:
    """The pages by their path from the site's root, as `tutorials/search.html`."""
    return {path.relative_to(site).as_posix(): Document(path.read_text()) for path in site.rglob("*.html")}


def inside(path: str, link: str) -> str:
    """The path of what a page links to, without a leading slash."""
    return unquote(urlsplit(urljoin(f"/{path}", link)).path).removeprefix("/")


def test_every_link_and_anchor_leads_somewhere(site: Path, documents: dict[str, Document]) -> None:
    broken = defaultdict(list)
    for path, document in documents.items():
        for link in [*document.links, *document.loads]:
            parts = urlsplit(link)
            if parts.scheme or path == "404.html":
                continue
            target = inside(path, link)
            target += "index.html" if target.endswith("/") or not target else ""
            if not (site / target).is_file() or (
                parts.fragment and unquote(parts.fragment) not in documents[target].anchors | {"__skip"}
            ):
                broken[path].append(link)
    assert not broken, dict(broken)


def test_addresses_of_others_use_https(documents: dict[str, Document]) -> None:
    for path, document in documents.items():
        for link in document.links:
            parts = urlsplit(link)
            if parts.scheme and "." in parts.netloc:  # without a dot: a name of the reader's own network
                assert parts.scheme == "https", f"{path}: {link}"


def test_nothing_is_loaded_from_elsewhere(documents: dict[str, Document]) -> None:
    for path, document in documents.items():
        assert [each for each in document.loads if urlsplit(each).netloc] == [], path


def test_every_page_shows_the_version_of_the_package(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert f"anysound {version('anysound')}" in path.read_text(), path


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    """The address of a plain server of files."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.skipif(chromium() is None, reason="there is no chromium on PATH (Debian: chromium)")
def test_the_search_finds_a_page_and_asks_nobody_else(served: str) -> None:
    with opened() as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(served)
        page.keyboard.press("/")
        page.keyboard.type("audacity", delay=20)
        page.get_by_text("4. Take them with you").click()
        expect(page).to_have_url(re.compile("/tutorials/find-events.html"), timeout=MOST_MS)
        expect(page.locator("h1")).to_contain_text("Find events in a long recording")
        others = [url for url in asked if urlsplit(url).hostname != "127.0.0.1"]
        assert [url for url in others if urlsplit(url).scheme not in ("blob", "data")] == []
        assert f"{served}search.json" in asked
