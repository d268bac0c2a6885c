"""Limits on the audio of one request and on the size of its answer, checked while its clips are decoded."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from service.api.problems import Code, Problem, invalid

SCORE_BYTES = 80
"""Approximate size of one row of an answer, without the label's name."""
EVENT_BYTES = 100
"""Approximate size of one event, without the label's name."""


class RequestBounds:
    """Counts the clips of one request as they are decoded. Raises Problem."""

    def __init__(self, max_seconds: float, max_answer_bytes: int, max_windows: int) -> None:
        self._max_seconds = max_seconds
        self._max_answer_bytes = max_answer_bytes
        self._max_windows = max_windows
        self._seconds = 0.0
        self._windows = 0
        self._answer_bytes = 0
        self._window_bytes = 0

    def answer(self, clips: int, names: Sequence[str], top_k: int | None, timeline: bool) -> None:
        """Count the rows that the answer will have at least. Called before anything is decoded."""
        sizes = sorted((len(msgspec.json.encode(name)) for name in names), reverse=True)[:top_k]
        rows_bytes = sum(sizes) + len(sizes) * SCORE_BYTES
        self._window_bytes = rows_bytes if timeline else 0
        self._add(clips * rows_bytes)

    def decoded(self, seconds: float, windows: int) -> None:
        """Count a decoded clip of `windows` windows."""
        self._seconds += seconds
        if self._seconds > self._max_seconds:
            detail = f"The clips have more than {self._max_seconds:g} s of audio together, the limit of a request."
            raise Problem(Code.AUDIO_TOO_LONG, detail)
        self._add(windows * self._window_bytes)

    def sliding(self, windows: int) -> None:
        """Count the windows of a clip at the distance that the request asks for."""
        self._windows += windows
        if self._windows > self._max_windows:
            raise invalid(
                f"hop_s: the clips have {self._windows} windows at this distance, the limit of a request is "
                f"{self._max_windows}; ask with a longer hop_s or about fewer or shorter clips"
            )

    def events(self, count: int, longest_name: int) -> None:
        """Count the events of a clip, whose labels have names of up to `longest_name` characters."""
        self._add(count * (EVENT_BYTES + longest_name))

    def _add(self, count: int) -> None:
        self._answer_bytes += count
        if self._answer_bytes > self._max_answer_bytes:
            raise invalid(
                f"the answer (clips * windows * labels) would have more than {self._max_answer_bytes} bytes, "
                "which is the limit; ask with top_k, for fewer labels, with a longer hop_s, or about fewer or shorter "
                "clips"
            )
