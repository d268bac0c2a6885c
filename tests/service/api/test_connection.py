"""Clients that would hold a connection for ever, over real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from service.api.connection import Connection

SIZES = {"/large": 64 << 20, "/small": 1 << 20}


class Hurried(Connection):
    head_s = 0.5
    grace_s = 0.5
    exchange_s = 0.5
    head_bytes = 100_000


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`/large` and `/small` answer with a lot, `/refuse` before the body, anything else when it has the body."""
    request = Request(scope, receive)
    if request.url.path in SIZES:
        answer: Response = PlainTextResponse(bytes(SIZES[request.url.path]))
    elif request.url.path == "/refuse":
        answer = PlainTextResponse("no", 413)
    else:
        answer = PlainTextResponse(str(len(await request.body())))
    await answer(scope, receive, send)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    config = uvicorn.Config(app, port=0, http=Hurried, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        yield connection


def cut_off(connection: socket.socket) -> bytes:
    """The bytes that arrived before the server closed the connection."""
    received = b""
    try:
        while data := connection.recv(1 << 16):
            received += data
    except ConnectionError:
        pass
    return received


def drip(connection: socket.socket, data: bytes, times: int = 200) -> bool:
    """Send again and again, slowly; whether the server stopped it."""
    try:
        for _ in range(times):
            connection.sendall(data)
            time.sleep(0.02)
    except OSError:
        return True
    return False


def test_a_connection_that_says_nothing_is_cut_off(connection: socket.socket) -> None:
    assert cut_off(connection) == b""


@pytest.mark.parametrize("data", [b"\r\n", b"X: y\r\n"])
def test_headers_that_never_end_are_cut_off(data: bytes, connection: socket.socket) -> None:
    if data.strip():
        connection.sendall(b"GET / HTTP/1.1\r\n")
    assert drip(connection, data)


def test_headers_that_are_too_large_are_cut_off(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\n")
    try:
        for _ in range(1_000):
            connection.sendall(b"X: " + b"y" * 1_000 + b"\r\n")
    except OSError:
        return
    assert cut_off(connection) == b""


def test_an_answer_that_nobody_reads_is_cut_off(connection: socket.socket) -> None:
    connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(2.0)
    assert len(cut_off(connection)) < SIZES["/large"]


def test_the_rest_of_a_refused_body_is_not_taken_for_ever(connection: socket.socket) -> None:
    connection.sendall(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413")
    assert drip(connection, b"x")


@pytest.mark.parametrize("sizes", [(1, 2, 3), (100_000, 1), (300_000, 300_000, 300_000)])
def test_a_body_comes_whole_in_whatever_pieces(sizes: tuple[int, ...], connection: socket.socket) -> None:
    connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % sum(sizes))
    for size in sizes:
        connection.sendall(bytes(size))
        time.sleep(0.02)
    assert cut_off(connection).endswith(b"\r\n%d" % sum(sizes))


def test_an_idle_connection_is_kept_and_serves_again(connection: socket.socket) -> None:
    for _ in range(3):
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert connection.recv(1 << 16).endswith(b"3")
        time.sleep(1.2)


def test_an_answer_that_is_read_comes_whole(connection: socket.socket) -> None:
    connection.sendall(b"GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert len(cut_off(connection)) > SIZES["/small"]


def test_a_query_that_is_too_long_is_refused_with_a_problem(connection: socket.socket) -> None:
    connection.sendall(b"GET /?" + b"labels=x&" * 8_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = cut_off(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in head
    document = json.loads(body)
    assert document["code"] == "payload_too_large"
    assert "65535" in document["detail"]


def test_what_is_not_http_is_refused_with_a_problem(connection: socket.socket) -> None:
    connection.sendall(b"hello\r\n\r\n")
    assert json.loads(cut_off(connection).partition(b"\r\n\r\n")[2])["code"] == "invalid_request"
