"""The limits of one clip, and the count of what has been decoded of it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from model.audio.errors import AudioError

MAX_AMPLITUDE = 1e12
"""Full scale is 1, and files that hold integers as floats reach 2^31; the spectrum of more overflows float32."""


@dataclass(frozen=True)
class Limits:
    """Limits of one clip. `max_decoded_bytes` bounds frames x channels x 4 bytes; rates are in Hz."""

    max_seconds: float = 600.0
    max_decoded_bytes: int = 256 << 20
    min_rate: int = 1_000
    max_rate: int = 384_000
    max_channels: int = 8

    def __post_init__(self) -> None:
        if self.max_channels > 8:
            raise ValueError("max_channels is above 8, where PyAV reads past the planes of a frame")


@dataclass(frozen=True)
class Spent:
    """How much of a clip has been decoded."""

    seconds: Fraction = Fraction(0)
    bytes: int = 0


class Budget:
    """The limits applied to one clip: `check_*` before decoding, `spend` for what was decoded."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.spent = Spent()

    def check_format(self, rate: int, channels: int) -> None:
        """Raises AudioError for a sample rate in Hz or a number of channels that is out of bounds."""
        low, high = self.limits.min_rate, self.limits.max_rate
        if not low <= rate <= high:
            raise AudioError("rate", f"The sample rate is {rate} Hz; {low} to {high} Hz can be read.")
        if not 1 <= channels <= self.limits.max_channels:
            raise AudioError(
                "channels", f"The clip has {channels} channels; 1 to {self.limits.max_channels} can be read."
            )

    def check_length(self, seconds: float | Fraction, decoded_bytes: float) -> None:
        """Raises AudioError (`audio_too_long`) for a length above the limits."""
        if seconds > self.limits.max_seconds:
            detail = f"The clip lasts {float(seconds):.1f} s or more; the limit is {self.limits.max_seconds:g} s."
            raise AudioError("too_long", detail, "audio_too_long")
        if decoded_bytes > self.limits.max_decoded_bytes:
            limit = self.limits.max_decoded_bytes / 2**20
            detail = f"The clip decodes to {decoded_bytes / 2**20:.1f} MiB or more; the limit is {limit:g} MiB."
            raise AudioError("too_large", detail, "audio_too_long")

    def spend(self, frames: int, rate: int, channels: int) -> None:
        """Count decoded frames. Raises AudioError (`audio_too_long`) once the clip is above its limits."""
        self.spent = Spent(self.spent.seconds + Fraction(frames, rate), self.spent.bytes + 4 * frames * channels)
        self.check_length(self.spent.seconds, self.spent.bytes)
