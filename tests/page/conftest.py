"""The page in a real browser, before a real service."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from service.api.app import create_app
from service.settings import Settings
from tests.page.browser import OTHER_HOST, chromium, running_browser
from tests.page.sounds import example, write
from tests.service.spectral import SpectralEmbedder

KEY = "a key of the tests"
PATIENCE_MS = 30_000
"""Time that a condition may take on a loaded machine."""
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  console.error(`violation: ${violatedDirective} ${blockedURI}`));
"""

Open = Callable[..., Page]


class Guarded(NamedTuple):
    """A service behind a path prefix that asks for keys."""

    address: str
    key: str


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Its microphone hears a crow, again and again."""
    if chromium() is None:
        pytest.skip("there is no chromium on PATH (Debian: chromium)")
    expect.set_options(timeout=PATIENCE_MS)
    microphone = write(tmp_path_factory.mktemp("microphone") / "crow.wav", example("crow.flac", 5))
    with running_browser(microphone) as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Open]:
    """Opens the page in a browser of its own: `open_page(color_scheme="dark")`.

    Afterwards no page may have met an error, a violation of its policy, or have asked another origin for anything.
    """
    contexts = []
    faults: list[str] = []

    def open_(at: str = address, **options: Any) -> Page:
        context = browser.new_context(**{"permissions": ["microphone"], "accept_downloads": True, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(REPORT_VIOLATIONS)
        page = context.new_page()
        origin = urlsplit(at).netloc

        def check(url: str) -> None:
            parts = urlsplit(url)
            if parts.scheme not in ("blob", "data") and parts.netloc != origin:
                faults.append(f"asked {url}")

        page.on("request", lambda request: check(request.url))
        page.on("websocket", lambda socket: check(socket.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if "violation" in message.text else None)
        page.goto(at)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def page(open_page: Open) -> Page:
    return open_page()


@pytest.fixture(scope="package")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """An API process in a thread, with an embedder that is no model."""
    keys = tmp_path_factory.mktemp("guarded") / "keys"
    keys.write_text(hashlib.sha256(KEY.encode()).hexdigest())
    settings = Settings(root_path="/sounds", api_keys_file=keys, decode_processes=1)
    server = uvicorn.Server(uvicorn.Config(create_app(settings, SpectralEmbedder()), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Guarded(f"http://127.0.0.1:{port}/sounds/", KEY)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="package")
def elsewhere(address: str) -> str:
    """The service's address as another machine has it: plain http, and not this machine's own name."""
    return f"http://{OTHER_HOST}:{urlsplit(address).port}/"


@pytest.fixture(scope="package")
def three_in_a_row(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 s of a crow, 6 s of a choir, 6 s of drums."""
    parts = [example(name, 6) for name in ("crow.flac", "choir.flac", "drums.flac")]
    return write(tmp_path_factory.mktemp("row") / "three.wav", *parts)
