"""Recordings from web addresses: bounded, and only from public addresses unless that is allowed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bulk.item import FetchError
from bulk.setup import WebLimits
from bulk.web import fetch, is_public

BODY = b"RIFF" * 1_000


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/redirect/"):
            left = int(self.path.rpartition("/")[2])
            self.send_response(302)
            self.send_header("Location", f"/redirect/{left - 1}" if left > 1 else "/clip.wav")
            self.end_headers()
        elif self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path == "/missing":
            self.send_error(404)
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        elif self.path == "/cut-off":
            self.send_response(200)
            self.send_header("Content-Length", "999")
            self.end_headers()
            self.wfile.write(b"half")
        else:
            self.send_response(200)
            if self.path != "/unknown-length":
                self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


LIMITS = WebLimits(allow_private=True, redirects=3, seconds=20)


def refused(address: str, limits: WebLimits = LIMITS) -> FetchError:
    with pytest.raises(FetchError) as caught:
        list(fetch(address, limits))
    return caught.value


@pytest.mark.parametrize("path", ["/clip.wav", "/unknown-length", "/redirect/3"])
def test_a_recording_is_fetched(site: str, path: str) -> None:
    assert b"".join(fetch(site + path, LIMITS)) == BODY


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/redirect/4", "redirects"),
        ("/elsewhere", "address"),
        ("/missing", "status_404"),
        ("/cut-off", "cut_off"),
    ],
)
def test_what_cannot_be_fetched_has_a_reason(site: str, path: str, reason: str) -> None:
    assert refused(site + path).reason == reason


@pytest.mark.parametrize("path", ["/clip.wav", "/unknown-length"])
def test_the_size_is_bounded_whether_it_is_stated_or_not(site: str, path: str) -> None:
    assert refused(site + path, WebLimits(max_bytes=100, allow_private=True)).reason == "too_large"


def test_a_server_that_trickles_is_given_up(site: str) -> None:
    assert refused(f"{site}/slow", WebLimits(seconds=0.5, allow_private=True)).reason == "fetch_timeout"


def test_a_server_that_is_not_there_is_one_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert refused(f"http://127.0.0.1:{free.getsockname()[1]}/").reason == "unreachable"


def test_a_private_address_is_refused(site: str) -> None:
    error = refused(f"{site}/clip.wav", WebLimits())
    assert error.reason == "private_address"
    assert "127.0.0.1" in error.detail


def test_the_connection_goes_to_the_address_that_was_checked(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves to a public address once, and to a private one from then on, reaches nothing private."""
    port = int(site.rpartition(":")[2])
    answers = iter([[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]])
    private = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    asked: list[str] = []

    def resolve(host: str, *_: Any, **__: Any) -> Any:
        if host[0].isdigit():  # the connection's own look-up of the address it was given
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        asked.append(host)
        return next(answers, private)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr("bulk.web.is_public", lambda address: address == "192.0.2.1")
    error = refused(f"http://rebinding.example:{port}/clip.wav", WebLimits(seconds=1.0))
    assert error.reason in ("unreachable", "fetch_timeout")
    assert asked == ["rebinding.example"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_only_addresses_of_the_public_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public
