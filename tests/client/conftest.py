"""A proxy in front of the real service that can refuse, stall or drop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.service.fault_proxy import FaultProxy

REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: %d\r\n"
    b"Content-Length: 52\r\nConnection: close\r\n\r\n"
    b'{"code": "overloaded", "detail": "too much at once"}'
)


class RefusingProxy(FaultProxy):
    """Refuses the first `refusals` connections with 503, drops the next `drops`, and passes on those after that."""

    refusals = 0
    drops = 0
    retry_after_s = 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusals:
            self.refusals -= 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(REFUSAL % self.retry_after_s)
            await writer.drain()
            while await reader.read(1 << 16):  # closing with unread bytes would reset the connection
                pass
            writer.close()
        elif self.drops:
            self.drops -= 1
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
        else:
            await super()._serve(reader, writer)


@pytest.fixture
async def proxy(address: str) -> AsyncIterator[RefusingProxy]:
    port = urlsplit(address).port
    assert port is not None
    async with RefusingProxy(port) as proxy:
        yield proxy
