"""A breaker: stop asking a server that does not answer, and find out off the requests' path when it does again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger("anysound.breaker")


class Breaker:
    """Closed: ask. After `failures` in a row open: do not. Then half-open: one probe at a time decides.

    The probe runs in a task of its own, first after `first_s`, then ever more seldom up to `longest_s`: were it a
    request that probes, one request a second would be slow for as long as the server is away. `probe` raises where
    the server is still not well.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[None]], failures: int = 3, first_s: float = 0.5, longest_s: float = 8.0
    ) -> None:
        self._probe = probe
        self._failures = failures
        self._first_s = first_s
        self._longest_s = longest_s
        self.era = 0
        """How often it has closed. What was asked in an earlier era says nothing of the server as it is now."""
        self._in_a_row = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether the server should be left alone; also while it is being probed."""
        return self._probing is not None

    async def closed(self) -> None:
        """Return when it is closed."""
        if self._probing is not None:
            await asyncio.wait([self._probing])

    def succeeded(self) -> None:
        self._in_a_row = 0

    def failed(self, era: int) -> None:
        """A question that was asked in `era` had no answer."""
        self._in_a_row += era == self.era
        if self._in_a_row >= self._failures and self._probing is None:
            log.warning("open after %d failures in a row", self._in_a_row)
            self._probing = asyncio.create_task(self._recover())

    async def _recover(self) -> None:
        pause = self._first_s
        while True:
            await asyncio.sleep(pause)
            try:
                await self._probe()
            except Exception as error:  # noqa: BLE001 - whatever it is, the server is not well
                log.info("still open: %s", type(error).__name__)
                pause = min(2 * pause, self._longest_s)
            else:
                log.warning("closed again")
                self._in_a_row = 0
                self.era += 1
                self._probing = None
                return

    async def close(self) -> None:
        """Stop probing."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])
