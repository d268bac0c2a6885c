"""Fetching a recording over HTTP: its size, time and redirects are bounded, and private addresses are refused.

A name is resolved once per request, every address that it has is checked, and the connection goes to the address that
was checked. A name that answers differently the second time (DNS rebinding) therefore reaches nothing. Proxies of the
environment are not used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from urllib.parse import SplitResult, urljoin, urlsplit

from bulk.item import FetchError
from bulk.setup import WebLimits

BLOCK_BYTES = 1 << 16
REDIRECTS = {301, 302, 303, 307, 308}
NAT64 = ipaddress.ip_network("64:ff9b::/96")
AGENT = "anysound-bulk"


def fetch(address: str, limits: WebLimits) -> Iterator[bytes]:
    """Yield the body of `address` in blocks. Raises FetchError."""
    end = time.monotonic() + limits.seconds
    for _ in range(limits.redirects + 1):
        url = _checked(address)
        try:
            with closing(_connect(url, limits, end)) as connection:
                target = f"{url.path or '/'}{f'?{url.query}' if url.query else ''}"
                connection.request("GET", target, headers={"User-Agent": AGENT, "Accept-Encoding": "identity"})
                sock = connection.sock  # which the answer takes over if its length is not stated
                with closing(connection.getresponse()) as answer:
                    if answer.status in REDIRECTS and (location := answer.getheader("Location")):
                        address = urljoin(address, location)
                        continue
                    if answer.status != 200:
                        raise FetchError(f"status_{answer.status}", f"The server answers {answer.status}.")
                    yield from _body(sock, answer, limits, end)
                    return
        except TimeoutError:
            raise FetchError("fetch_timeout", f"The fetch took more than {limits.seconds:g} s.") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FetchError("unreachable", f"{url.hostname} cannot be reached: {_said(error)}.") from None
    raise FetchError("redirects", f"There are more than {limits.redirects} redirects.")


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _checked(address: str) -> SplitResult:
    try:
        url = urlsplit(address)
        valid = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise FetchError("address", "The address, or where it redirects to, is not an http or https address.")
    return url


def _connect(url: SplitResult, limits: WebLimits, end: float) -> http.client.HTTPConnection:
    """A connection to an address that was checked. Raises OSError, FetchError."""
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not limits.allow_private:
        for *_, where in resolved:
            if not is_public(str(where[0])):
                raise FetchError(
                    "private_address", f"{host} has the address {where[0]}, which is not public (--allow-private)."
                )
    connected = None
    for number, (*_, where) in enumerate(resolved, 1):
        try:
            connected = socket.create_connection((str(where[0]), port), timeout=_left(end))
            break
        except OSError:
            if number == len(resolved):
                raise
    assert connected is not None  # noqa: S101 - getaddrinfo gives one address or raises
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port)
    connected.settimeout(_left(end))
    connection.sock = _tls().wrap_socket(connected, server_hostname=host) if url.scheme == "https" else connected
    return connection


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet. An address that carries another one is as good as it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _body(sock: socket.socket, answer: http.client.HTTPResponse, limits: WebLimits, end: float) -> Iterator[bytes]:
    claimed = answer.getheader("Content-Length", "")
    too_large = FetchError("too_large", f"The file has more than {limits.max_bytes:,} bytes.")
    if claimed.isdecimal() and int(claimed) > limits.max_bytes:
        raise too_large
    read = 0
    while True:
        sock.settimeout(_left(end))
        block = answer.read1(BLOCK_BYTES)
        if not block:
            break
        read += len(block)
        if read > limits.max_bytes:
            raise too_large
        yield block
    if claimed.isdecimal() and read < int(claimed):
        raise FetchError("cut_off", f"The connection ended after {read:,} of {int(claimed):,} bytes.")
