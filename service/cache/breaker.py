"""A circuit breaker: a server that fails is left alone until a probe finds that it has recovered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger("anysound.breaker")


class Breaker:
    """Opens after `failures` in a row; while it is open, callers do not ask the server. A successful probe closes it.

    Probes run in a task, not in a request: no request waits for a server that is away. The first runs after `first_s`,
    and the pause doubles up to `longest_s`. `probe` raises while the server does not answer.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[None]], failures: int = 3, first_s: float = 0.5, longest_s: float = 8.0
    ) -> None:
        self._probe = probe
        self._failures = failures
        self._first_s = first_s
        self._longest_s = longest_s
        self.era = 0
        """How often the breaker has closed again. Failures of questions from an earlier era do not count."""
        self._in_a_row = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether callers must not ask the server."""
        return self._probing is not None

    def succeeded(self) -> None:
        self._in_a_row = 0

    def failed(self, era: int) -> None:
        """Count the failure of a question that was asked in `era`."""
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
            except Exception as error:  # noqa: BLE001 - whatever it is, the server does not answer
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
