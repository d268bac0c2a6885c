"""What the reader processes have to know: the shape of windows, and the limits of an item."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pydantic would take half of a reader's start
    from model.config import FrontEndConfig, Padding


@dataclass(frozen=True)
class WebLimits:
    """Limits of an item that is fetched over HTTP. `seconds` bounds the whole fetch, redirects included."""

    max_bytes: int = 512 << 20
    seconds: float = 120.0
    redirects: int = 5
    allow_private: bool = False


@dataclass(frozen=True)
class ReaderSetup:
    """`rate` in Hz; `window`, `hop` and `event_hop` in samples. Without `event_hop` no windows for events are cut.

    An item may last `max_seconds` and have `max_bytes`. `idle_s` is how long a reader may work on an item without
    making progress.
    """

    rate: int
    window: int
    hop: int
    padding: Padding
    event_hop: int | None = None
    max_seconds: float = 24 * 3600.0
    max_bytes: int = 16 << 30
    idle_s: float = 120.0
    web: WebLimits = field(default_factory=WebLimits)

    @classmethod
    def of(cls, front_end: FrontEndConfig, event_hop_s: float | None = None, **limits: object) -> ReaderSetup:
        event_hop = None if event_hop_s is None else round(event_hop_s * front_end.sample_rate)
        return cls(
            front_end.sample_rate,
            front_end.window_samples,
            front_end.window_hop_samples,
            front_end.padding,
            event_hop,
            **limits,  # type: ignore[arg-type]
        )
