from __future__ import annotations

import socket
import sys

import pytest

from service.api import handshakes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")


@pytest.fixture(params=[("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)], ids=["IPv4", "IPv6"])
def listener(request: pytest.FixtureRequest) -> socket.socket:
    host, family = request.param
    try:
        return socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"no {host} here")


def connected(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=0.3)


def test_no_connection_arrives_and_those_in_the_queue_are_served(listener: socket.socket) -> None:
    address = listener.getsockname()[:2]
    with listener, connected(address) as early:
        handshakes.stop(listener)
        with pytest.raises(TimeoutError):
            connected(address)
        early.sendall(b"asked")
        accepted = listener.accept()[0]
        with accepted:
            assert accepted.recv(5) == b"asked"
            accepted.sendall(b"answered")
            assert early.recv(8) == b"answered"
    with pytest.raises(ConnectionRefusedError):
        connected(address)
