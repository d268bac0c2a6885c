"""What the device runs next: a bounded queue of audio windows and prompts, and the batches taken from it.

Nothing here knows a model, a socket or a clock: `now` is an argument, in the same seconds as the deadlines. There is no
timer: an idle device takes whatever waits at once, and while it is busy the next batch grows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable
from dataclasses import dataclass

from service.ipc.embedding import Priority
from service.worker.lane import Lane
from service.worker.queue_rate import QueueRate
from service.worker.requests import Batch, Item, Kind, Request
from service.worker.wait_estimate import QueueLimits, WaitEstimate

BULK_SHARE = 1 / 8
"""The share of every full batch, and of the turns between audio and text, that bulk work gets while interactive work
waits."""

BULK_QUEUE = 1 / 2
"""The share of the queue that bulk work may fill; the rest is kept for interactive work."""

LONG = 1 / 2
"""No group needs more free room than this share of its bound: work that is longer than the whole queue is admitted
too, one such group at a time, since it then fills the queue."""

EXPECTED_S = 1.0
"""This long after interactive audio, more of it is expected: batches stay small, so that it need not wait for a large
bulk batch."""

TURNS = 4
"""A turn of one group is at most this fraction of a batch, so a long request shares its batches with others."""


@dataclass(slots=True)
class ReservedRoom:
    """Room in the queue for audio that is still being decoded."""

    priority: Priority
    seconds: float
    deadline: float


class Refused(Exception):
    """The work does not fit. The same work fits after `retry_after_s` if nothing else arrives."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class BatchQueue:
    """Admission, order and batches. Not thread-safe: its owner holds a lock."""

    def __init__(self, limits: QueueLimits, rates: dict[Kind, QueueRate] | None = None) -> None:
        self.limits = limits
        self.estimate = WaitEstimate(limits, rates)
        self._lanes = {
            (kind, priority): Lane(limits.batch_cost(kind) / TURNS) for kind in Kind for priority in Priority
        }
        self._reserved: dict[Hashable, ReservedRoom] = {}
        self._reserved_seconds = dict.fromkeys(Priority, 0.0)
        self._credit = dict.fromkeys(Kind, 0.0)
        self._last = Kind.AUDIO
        self._passed_over = 0
        self._interactive_audio_at = -math.inf

    # Waiting work

    def waiting(self, kind: Kind, priority: Priority | None = None) -> float:
        """Cost that waits: seconds of audio, reserved ones included, or tokens."""
        priorities = tuple(Priority) if priority is None else (priority,)
        cost = sum(self._lanes[kind, each].cost for each in priorities)
        if kind is Kind.AUDIO:
            cost += sum(self._reserved_seconds[each] for each in priorities)
        return cost

    def waiting_of(self, kind: Kind, priority: Priority, group: Hashable) -> float:
        """Cost that waits of one group, its reservation included."""
        room = self._reserved.get(group) if kind is Kind.AUDIO else None
        return self._lanes[kind, priority].cost_of(group) + (0.0 if room is None else room.seconds)

    def __len__(self) -> int:
        """How many requests have items waiting."""
        return sum(len(lane.requests) for lane in self._lanes.values())

    # Admission: a whole request or nothing of it

    def reserve(self, group: Hashable, seconds: float, priority: Priority, deadline: float, now: float) -> None:
        """Keep room for audio that is not decoded yet, until it is released or its deadline passes. Raises Refused."""
        self._check(Kind.AUDIO, priority, group, seconds, deadline, now)
        self._note(Kind.AUDIO, priority, now)
        self._keep(group, ReservedRoom(priority, seconds, deadline))

    def release(self, group: Hashable) -> None:
        """Give back what is left of a reservation."""
        if (room := self._reserved.pop(group, None)) is not None:
            self._reserved_seconds[room.priority] -= room.seconds
        if not self._reserved:
            self._reserved_seconds = dict.fromkeys(Priority, 0.0)  # a remainder of rounding

    def _keep(self, group: Hashable, room: ReservedRoom) -> None:
        self._reserved[group] = room
        self._reserved_seconds[room.priority] += room.seconds

    def admit(self, request: Request, now: float) -> None:
        """Queue a request. What its group has reserved is not checked again. Raises Refused, ValueError if empty."""
        if not request.costs:
            raise ValueError("a request without items")
        room = self._reserved.get(request.group)
        excess = request.cost if room is None else request.cost - room.seconds
        if excess > 1e-6:
            self._check(request.kind, request.priority, request.group, excess, request.deadline, now)
        if room is not None:
            self.release(request.group)
            self._keep(request.group, ReservedRoom(room.priority, max(0.0, -excess), room.deadline))
        self._note(request.kind, request.priority, now)
        self._lanes[request.kind, request.priority].add(request)

    def _note(self, kind: Kind, priority: Priority, now: float) -> None:
        if kind is Kind.AUDIO and priority is Priority.INTERACTIVE:
            self._interactive_audio_at = now

    def _check(self, kind: Kind, priority: Priority, group: Hashable, cost: float, deadline: float, now: float) -> None:
        """Raises Refused if `cost` more of a group has no room, or would not be done by the deadline.

        What the group itself has waiting does not count against it.
        """
        own = self.waiting_of(kind, priority, group)
        others = self.waiting(kind) - own
        total = own + cost
        bound = self.limits.queue_cost(kind)
        excess = others + min(total, LONG * bound) - bound
        if priority is Priority.BULK:
            bulk_bound = BULK_QUEUE * bound
            bulk_others = self.waiting(kind, priority) - own
            excess = max(excess, bulk_others + min(total, LONG * bulk_bound) - bulk_bound)
        if excess > 1e-6:
            until_it_fits = self.estimate.queue_s(kind, min(excess, others))
            raise Refused("the queue is full", self.estimate.running_s(now) + until_it_fits)
        if others <= 1e-6 and self.estimate.idle and now < deadline:
            return  # An idle device tries anyway: only a new batch can correct an estimate that is too high.
        if now + self._longest_wait_s(kind, priority, total, now) <= deadline:
            return
        late = now + self.wait_s(kind, priority, total, now, group) - deadline
        if late > 0:
            raise Refused("the deadline cannot be met", late)

    def wait_s(self, kind: Kind, priority: Priority, cost: float, now: float, group: Hashable = None) -> float:
        """Estimated seconds until a group that has `cost` in all is done."""
        other = Kind.TEXT if kind is Kind.AUDIO else Kind.AUDIO
        ahead = self._ahead_of(kind, priority, cost, group)
        return self.estimate.wait_s(kind, ahead + cost, self._all_ahead(other, priority), now)

    def _longest_wait_s(self, kind: Kind, priority: Priority, cost: float, now: float) -> float:
        """An upper bound of `wait_s` that does not look at each group, as if all that waits went first."""
        other = Kind.TEXT if kind is Kind.AUDIO else Kind.AUDIO
        ahead = self._all_ahead(kind, priority, cost)
        return self.estimate.wait_s(kind, ahead + cost, self._all_ahead(other, priority), now)

    def _ahead_of(self, kind: Kind, priority: Priority, cost: float, group: Hashable) -> float:
        """Cost of this kind that goes before the last item of a group that has `cost` in all."""
        ahead = self._lanes[kind, priority].ahead_of(cost, group)
        if kind is Kind.AUDIO:
            rooms = (room for key, room in self._reserved.items() if key != group and room.priority is priority)
            ahead += sum(min(room.seconds, cost) for room in rooms)
        if priority is Priority.BULK:
            return ahead + self.waiting(kind, Priority.INTERACTIVE)
        return ahead + self._bulk_beside(kind, ahead + cost)

    def _all_ahead(self, kind: Kind, priority: Priority, cost: float = 0.0) -> float:
        """Cost of this kind that is served until all work of the same priority is done, `cost` more of it included."""
        waiting = self.waiting(kind, priority)
        if priority is Priority.BULK:
            return waiting + self.waiting(kind, Priority.INTERACTIVE)
        return waiting + self._bulk_beside(kind, waiting + cost)

    def _bulk_beside(self, kind: Kind, interactive: float) -> float:
        """Cost of bulk work that is served while `interactive` is."""
        if not self._lanes[kind, Priority.BULK]:
            return 0.0
        return min(self.waiting(kind, Priority.BULK), interactive * BULK_SHARE / (1 - BULK_SHARE))

    # Leaving the queue

    def cancel(self, request_id: Hashable) -> Request | None:
        """Drop the items of a request that still wait."""
        for lane in self._lanes.values():
            if (request := lane.remove(request_id)) is not None:
                return request
        return None

    def expire(self, now: float) -> list[Request]:
        """Drop requests and reservations whose deadline has passed."""
        for group in [group for group, room in self._reserved.items() if room.deadline <= now]:
            self.release(group)
        expired = [
            request for lane in self._lanes.values() for request in lane.requests.values() if request.deadline <= now
        ]
        for request in expired:
            self.cancel(request.id)
        return expired

    def take(self, now: float, kinds: Collection[Kind] = tuple(Kind)) -> Batch:
        """The next batch for an idle device or thread that runs `kinds`, without what has expired."""
        expired = self.expire(now)
        kind = self._next_kind() if len(kinds) > 1 else next(iter(kinds))
        items, cost = self._fill(kind, now)
        return Batch(kind, items, cost, expired)

    def _next_kind(self) -> Kind:
        """Audio and text take turns. Bulk work of one kind lets interactive work of the other go first, up to
        `BULK_SHARE` of the turns."""
        other = Kind.TEXT if self._last is Kind.AUDIO else Kind.AUDIO
        waiting = {kind: any(self._lanes[kind, each] for each in Priority) for kind in Kind}
        if not waiting[other] or not waiting[self._last]:
            self._passed_over = 0
            self._last = other if waiting[other] else self._last
            return self._last
        interactive = [kind for kind in Kind if self._lanes[kind, Priority.INTERACTIVE]]
        if len(interactive) == 1 and self._passed_over < 1 / BULK_SHARE - 1:
            self._passed_over += 1
            self._last = interactive[0]
        elif len(interactive) == 1:
            self._passed_over = 0
            self._last = Kind.TEXT if interactive[0] is Kind.AUDIO else Kind.AUDIO
        else:
            self._last = other
        return self._last

    def _fill(self, kind: Kind, now: float) -> tuple[list[Item], float]:
        """The items of the next batch, and its cost: all items are padded to the largest one."""
        interactive, bulk = self._lanes[kind, Priority.INTERACTIVE], self._lanes[kind, Priority.BULK]
        items: list[Item] = []
        room = self.estimate.batch_cost(kind)
        interactive.quantum = bulk.quantum = room / TURNS
        largest = 0.0

        most = self.limits.batch_items(kind)

        def draw(lane: Lane, budget: float, most: int = most) -> float:
            """Add items of a lane while `budget` lasts, up to `most`; the first item of a batch always fits."""
            nonlocal largest
            drawn = 0.0
            while lane and len(items) < most:
                price = lane.next_cost()
                if items and (len(items) + 1) * max(largest, price) > room + 1e-9:
                    break
                if drawn + price > budget + 1e-9:
                    break
                items.append(lane.draw())
                largest = max(largest, price)
                drawn += price
            return drawn

        drawn = 0.0
        if interactive and bulk:
            drawn = draw(bulk, self._credit[kind])
            self._credit[kind] -= drawn
        drawn += draw(interactive, math.inf)
        small = kind is Kind.AUDIO and (bool(items) or now - self._interactive_audio_at < EXPECTED_S)
        drawn += draw(bulk, math.inf, min(most, self.limits.mixed_windows) if small else most)
        if not bulk:
            self._credit[kind] = 0.0
        elif interactive:
            self._credit[kind] = min(self._credit[kind] + BULK_SHARE * drawn, max(room, bulk.next_cost()))
        return items, len(items) * largest
