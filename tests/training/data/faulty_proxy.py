"""A proxy before a local S3 server that delays, cuts and refuses what passes through it."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Faults:
    """What happens to the next answers: `delay_s` to all of them; each of `plan` to one GET of a byte range, in order.

    `busy` answers 503, `cut` closes the connection within the body, `stuck` sends a part of the body and waits.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.plan: list[str] = []
        self.lock = threading.Lock()
        self.seen: list[str] = []

    def next(self) -> str:
        with self.lock:
            fault = self.plan.pop(0) if self.plan else "none"
            self.seen.append(fault)
            return fault


@contextmanager
def proxy(server: str) -> Iterator[tuple[str, Faults]]:
    """Its URL before `server`'s, and its faults."""
    faults = Faults()
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class' name
            pass

        def forward(self) -> None:
            time.sleep(faults.delay_s)
            fault = faults.next() if self.command == "GET" and "Range" in self.headers else "none"
            if fault == "busy":
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = urllib.request.Request(server + self.path, body or None, dict(self.headers), method=self.command)  # noqa: S310
            try:
                with urllib.request.urlopen(asked) as answer:  # noqa: S310
                    status, headers, content = answer.status, answer.headers, answer.read()
            except urllib.error.HTTPError as error:
                status, headers, content = error.code, error.headers, error.read()
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                    self.send_header(name, value)
            length = headers["Content-Length"] if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            if fault in ("cut", "stuck"):
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                if fault == "stuck":
                    ended.wait(20)
                self.close_connection = True
                return
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = forward  # noqa: N815

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_address[1]}", faults
    finally:
        ended.set()
        served.shutdown()
        served.server_close()
