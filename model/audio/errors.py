"""The one error of reading audio."""

from __future__ import annotations


class AudioError(ValueError):
    """A clip that cannot be used.

    `code` is the HTTP contract's (`unsupported_audio`, `audio_too_long`), `reason` a short name for metrics, the
    message a sentence for the person who sent the clip.
    """

    def __init__(self, reason: str, detail: str, code: str = "unsupported_audio") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.code = code

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str, str]]:
        return AudioError, (self.reason, self.detail, self.code)
