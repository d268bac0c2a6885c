"""When a call is tried again, and until when. Pure bookkeeping: the clients send and sleep."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

import httpx

from anysound_client.errors import AnysoundError, ConnectionFailed, TimedOut, from_response, retry_after_s

AGAIN = frozenset({429, 502, 503})
"""Statuses after which the same call may succeed. 504 is not among them: its deadline has passed."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0


class Attempts:
    """The attempts of one call, at most `retries` after the first, all within `timeout_s`."""

    def __init__(self, retries: int, timeout_s: float) -> None:
        self._left = retries
        self._pause_s = FIRST_PAUSE_S
        self._end = time.monotonic() + timeout_s

    @property
    def remaining_s(self) -> float:
        """Seconds that are left of the call's time. Raises TimedOut if none are."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimedOut("the call's time is over")
        return left

    def headers(self) -> Mapping[str, str]:
        """Headers that say how long the caller still waits, so that the service drops the work afterwards."""
        return {"X-Deadline-Ms": str(max(1, int(1e3 * self.remaining_s)))}

    def after_answer(self, response: httpx.Response) -> float | None:
        """The pause in seconds before the next attempt; None where the answer is final.

        Raises the answer's error where there is to be no further attempt.
        """
        if response.status_code < 400:
            return None
        error = from_response(response)
        if response.status_code not in AGAIN:
            raise error
        return self._pause(error, retry_after_s(response))

    def after_failure(self, failure: httpx.HTTPError) -> float:
        """The pause in seconds before the next attempt. Raises ConnectionFailed or TimedOut where there is none."""
        if isinstance(failure, httpx.TimeoutException):
            raise TimedOut(f"the service did not answer in time ({type(failure).__name__})") from failure
        if isinstance(failure, (httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
            raise ConnectionFailed(str(failure)) from failure
        error = ConnectionFailed(str(failure) or type(failure).__name__)
        error.__cause__ = failure
        return self._pause(error, None)

    def _pause(self, error: AnysoundError, asked_s: float | None) -> float:
        """The pause that the service asks for, or one that doubles each time. A random part keeps callers apart."""
        pause_s = self._pause_s if asked_s is None else max(asked_s, FIRST_PAUSE_S)
        pause_s *= random.uniform(1.0, 1.25) if asked_s is not None else random.uniform(0.5, 1.0)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        if self._left == 0 or time.monotonic() + pause_s >= self._end:
            raise error
        self._left -= 1
        return pause_s
