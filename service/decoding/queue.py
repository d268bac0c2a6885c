"""The order in which waiting clips get a decoder: interactive before bulk, and requests take turns.

Nothing here knows a process or a clock.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from service.decoding.shape import Decoded, Shape

BULK_TURN = 8
"""While interactive clips wait, one in this many clips taken is a bulk clip."""


class QueueFull(Exception):
    """The limit on waiting clips is reached."""


@dataclass(eq=False)
class Clip:
    """One recording that waits for its windows. `request` is the same for all clips of one request."""

    data: bytes | bytearray
    shape: Shape
    request: Hashable
    bulk: bool
    answer: asyncio.Future[Decoded] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class _Lane:
    """The waiting clips of one priority. Each request gives one clip in turn."""

    def __init__(self) -> None:
        self.requests: OrderedDict[Hashable, deque[Clip]] = OrderedDict()
        self.clips = 0

    def __bool__(self) -> bool:
        return self.clips > 0

    def put(self, clip: Clip) -> None:
        self.requests.setdefault(clip.request, deque()).append(clip)
        self.clips += 1

    def take(self) -> Clip:
        request, waiting = next(iter(self.requests.items()))
        clip = waiting.popleft()
        if waiting:
            self.requests.move_to_end(request)
        else:
            del self.requests[request]
        self.clips -= 1
        return clip

    def remove(self, clip: Clip) -> bool:
        waiting = self.requests.get(clip.request, ())
        if clip not in waiting:
            return False
        waiting.remove(clip)  # type: ignore[union-attr]
        if not waiting:
            del self.requests[clip.request]
        self.clips -= 1
        return True


class ClipQueue:
    """A bounded queue of clips for `decoders` processes.

    Bulk clips never occupy the last decoder, so that an interactive clip does not wait for a long bulk one to end; a
    single decoder takes both. Bulk clips may fill half of the queue.
    """

    def __init__(self, decoders: int, bound: int) -> None:
        self.bound = bound
        self._most_bulk = max(1, decoders - 1)
        self._interactive, self._bulk = _Lane(), _Lane()
        self._bulk_running = 0
        self._interactive_in_a_row = 0

    def __len__(self) -> int:
        return self._interactive.clips + self._bulk.clips

    def put(self, clip: Clip) -> None:
        """Raises QueueFull."""
        if len(self) >= self.bound or (clip.bulk and self._bulk.clips >= self.bound // 2):
            raise QueueFull
        (self._bulk if clip.bulk else self._interactive).put(clip)

    def remove(self, clip: Clip) -> bool:
        """Forget a clip that still waits; False where it does not."""
        return (self._bulk if clip.bulk else self._interactive).remove(clip)

    def take(self) -> Clip | None:
        """The next clip for a free decoder, or None. `done` has to follow."""
        may_bulk = self._bulk and self._bulk_running < self._most_bulk
        if may_bulk and (not self._interactive or self._interactive_in_a_row >= BULK_TURN - 1):
            self._interactive_in_a_row = 0
            self._bulk_running += 1
            return self._bulk.take()
        if not self._interactive:
            return None
        self._interactive_in_a_row += 1
        return self._interactive.take()

    def done(self, clip: Clip) -> None:
        """The decoder that took `clip` is free again."""
        self._bulk_running -= clip.bulk
