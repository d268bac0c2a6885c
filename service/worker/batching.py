"""What the device does next: a bounded queue of audio windows and prompts, and the batches taken from it.

Nothing here knows a model, a socket or a clock: `now` is an argument, in the same seconds as the deadlines. There is
no timer: whatever waits goes as soon as the device asks, and a busy device lets the next batch grow.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from service.ipc.embedding import Priority
from service.worker.queue_rate import DrainModel


class Kind(Enum):
    """Windows and prompts go through different encoders, so a batch holds one kind."""

    AUDIO = "audio"
    TEXT = "text"


@dataclass(frozen=True)
class Limits:
    """Bounds of one batch and of the queue. An item's cost is in seconds of audio, or in tokens."""

    batch_seconds: float = 160.0
    batch_windows: int = 64
    batch_tokens: float = 4096.0
    batch_prompts: int = 128
    queue_seconds: float = 600.0
    queue_tokens: float = 400_000.0

    def batch_cost(self, kind: Kind) -> float:
        return self.batch_seconds if kind is Kind.AUDIO else self.batch_tokens

    def batch_items(self, kind: Kind) -> int:
        return self.batch_windows if kind is Kind.AUDIO else self.batch_prompts

    def queue_cost(self, kind: Kind) -> float:
        return self.queue_seconds if kind is Kind.AUDIO else self.queue_tokens


BULK_SHARE = 1 / 8
"""Of every full batch, and of the turns between audio and text, that bulk work gets while interactive work waits."""

BULK_QUEUE = 1 / 2
"""Of the queue's bound, what bulk work may fill: the rest is kept for interactive work."""

TURNS = 4
"""A batch holds at least this many requests' turns: a long request takes a quarter of it, then lets others go."""


@dataclass(eq=False, slots=True)
class Request:
    """Items that were asked for together: the windows of one clip, or a list of prompts.

    `costs` has one entry an item. `payload` is the caller's. Items before `taken` have left the queue.
    """

    id: Hashable
    kind: Kind
    priority: Priority
    costs: Sequence[float]
    deadline: float
    arrived: float
    payload: Any = None
    reservation: Hashable | None = None
    taken: int = 0
    cost: float = field(init=False)

    def __post_init__(self) -> None:
        self.cost = math.fsum(self.costs)


@dataclass(frozen=True, slots=True)
class Item:
    """One window or prompt of a request."""

    request: Request
    index: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What the device runs next; empty when nothing waits. `expired` requests were dropped, their deadline passed."""

    kind: Kind
    items: list[Item]
    cost: float
    expired: list[Request]


@dataclass(slots=True)
class Reservation:
    """Room in the queue for audio that is still being decoded."""

    priority: Priority
    seconds: float
    deadline: float


class Refused(Exception):
    """The work does not fit. It, or as much again, will fit after `retry_after_s` if nothing else arrives."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Lane:
    """The waiting requests of one kind and priority, served in turns of `quantum` cost each."""

    def __init__(self, quantum: float) -> None:
        self.quantum = quantum
        self.requests: OrderedDict[Hashable, Request] = OrderedDict()
        self.cost = 0.0
        self._turn = 0.0

    def __bool__(self) -> bool:
        return bool(self.requests)

    def add(self, request: Request) -> None:
        self.requests[request.id] = request
        self.cost += request.cost

    def remove(self, request_id: Hashable) -> Request | None:
        request = self.requests.get(request_id)
        if request is None:
            return None
        if next(iter(self.requests)) == request_id:
            self._turn = 0.0
        del self.requests[request_id]
        self._settle(request.cost)
        return request

    def next_cost(self) -> float:
        """Cost of the item that `draw` would give."""
        head = next(iter(self.requests.values()))
        return head.costs[head.taken]

    def draw(self) -> Item:
        """The next item in turn."""
        request_id, request = next(iter(self.requests.items()))
        item = Item(request, request.taken)
        cost = request.costs[request.taken]
        request.taken += 1
        request.cost -= cost
        self._turn += cost
        if request.taken == len(request.costs):
            del self.requests[request_id]
            self._turn = 0.0
            cost += request.cost  # what rounding left
        elif self._turn + request.costs[request.taken] > self.quantum:
            self.requests.move_to_end(request_id)
            self._turn = 0.0
        self._settle(cost)
        return item

    def _settle(self, cost: float) -> None:
        self.cost = self.cost - cost if self.requests else 0.0

    def ahead_of(self, cost: float) -> float:
        """Cost that is served before the last item of a new request of `cost`, itself not counted."""
        turns = math.ceil(cost / self.quantum) * self.quantum
        return sum(min(request.cost, turns) for request in self.requests.values())


class BatchQueue:
    """Admission, order and batches. Not thread-safe: one lock around it is the owner's."""

    def __init__(self, limits: Limits, drains: dict[Kind, DrainModel] | None = None) -> None:
        self.limits = limits
        self.drains = drains or {kind: DrainModel() for kind in Kind}
        self._lanes = {
            (kind, priority): Lane(limits.batch_cost(kind) / TURNS) for kind in Kind for priority in Priority
        }
        self._reservations: dict[Hashable, Reservation] = {}
        self._credit = dict.fromkeys(Kind, 0.0)
        self._last = Kind.AUDIO
        self._passed_over = 0
        self._running: dict[int, tuple[float, float]] = {}  # id of a batch: when it started, how long it should take
        self._device_free = -math.inf

    # What waits

    def waiting(self, kind: Kind, priority: Priority | None = None) -> float:
        """Cost that waits: seconds of audio, reserved ones included, or tokens."""
        priorities = tuple(Priority) if priority is None else (priority,)
        cost = sum(self._lanes[kind, each].cost for each in priorities)
        if kind is Kind.AUDIO:
            cost += sum(held.seconds for held in self._reservations.values() if held.priority in priorities)
        return cost

    def __len__(self) -> int:
        """How many requests have items waiting."""
        return sum(len(lane.requests) for lane in self._lanes.values())

    # Admission: a whole request or nothing of it

    def reserve(self, key: Hashable, seconds: float, priority: Priority, deadline: float, now: float) -> None:
        """Keep room for audio that is not decoded yet, until it is released or its deadline. Raises Refused."""
        self._check(Kind.AUDIO, priority, seconds, deadline, now)
        self._reservations[key] = Reservation(priority, seconds, deadline)

    def release(self, key: Hashable) -> None:
        """Give back what is left of a reservation."""
        self._reservations.pop(key, None)

    def admit(self, request: Request, now: float) -> None:
        """Queue a request; what its reservation holds is not checked again. Raises Refused, ValueError if empty."""
        if not request.costs:
            raise ValueError("a request without items")
        held = self._reservations.get(request.reservation) if request.reservation is not None else None
        excess = request.cost if held is None else request.cost - held.seconds
        if excess > 1e-6:
            self._check(request.kind, request.priority, excess, request.deadline, now)
        if held is not None:
            held.seconds = max(0.0, -excess)
        self._lanes[request.kind, request.priority].add(request)

    def _check(self, kind: Kind, priority: Priority, cost: float, deadline: float, now: float) -> None:
        bound = self.limits.queue_cost(kind)
        waiting = self.waiting(kind)
        excess = waiting + cost - bound
        if priority is Priority.BULK:
            excess = max(excess, self.waiting(kind, Priority.BULK) + cost - bound * BULK_QUEUE)
        if excess > 0 and waiting > 0:  # a request above the bound may still have an empty queue to itself
            drain = self.drains[kind].drain_s(min(excess, waiting), self.limits.batch_cost(kind))
            raise Refused("the queue is full", self._running_s(now) + drain)
        if waiting == 0 and not self._running and now < deadline:
            return  # an idle device may try: only so can an estimate that is too high be found out
        late = now + self.wait_s(kind, priority, cost, now) - deadline
        if late > 0:
            raise Refused("the deadline cannot be met", late)

    def wait_s(self, kind: Kind, priority: Priority, cost: float, now: float) -> float:
        """Estimated seconds until a new request of `cost` is done."""
        own = self.limits.batch_cost(kind)
        ahead = self._ahead(kind, priority, cost) + cost
        wait = self.drains[kind].drain_s(ahead, own)
        other = Kind.TEXT if kind is Kind.AUDIO else Kind.AUDIO
        others = self._ahead(other, priority, math.inf) if self.waiting(other) else 0.0
        turns = math.ceil(ahead / own) * self.limits.batch_cost(other)  # the kinds take turns
        wait += self.drains[other].drain_s(min(others, turns), self.limits.batch_cost(other))
        return self._running_s(now) + wait

    def _ahead(self, kind: Kind, priority: Priority, cost: float) -> float:
        """Cost of this kind that goes before the last item of a new request of `cost`."""
        lane = self._lanes[kind, priority]
        ahead = lane.cost if math.isinf(cost) else lane.ahead_of(cost)
        if kind is Kind.AUDIO:
            ahead += sum(min(held.seconds, cost) for held in self._reservations.values() if held.priority is priority)
        if priority is Priority.BULK:
            return ahead + self.waiting(kind, Priority.INTERACTIVE)
        if self._lanes[kind, Priority.BULK]:
            bulk = self.waiting(kind, Priority.BULK)
            ahead += min(bulk, (ahead + (0.0 if math.isinf(cost) else cost)) * BULK_SHARE / (1 - BULK_SHARE))
        return ahead

    def _running_s(self, now: float) -> float:
        """Estimated seconds until the device has done what it runs."""
        return sum(max(0.0, expected - max(0.0, now - start)) for start, expected in self._running.values())

    # Leaving the queue

    def cancel(self, request_id: Hashable) -> Request | None:
        """Drop what still waits of a request."""
        for lane in self._lanes.values():
            if (request := lane.remove(request_id)) is not None:
                return request
        return None

    def expire(self, now: float) -> list[Request]:
        """Drop requests and reservations whose deadline has passed."""
        for key in [key for key, held in self._reservations.items() if held.deadline <= now]:
            del self._reservations[key]
        expired = [
            request for lane in self._lanes.values() for request in lane.requests.values() if request.deadline <= now
        ]
        for request in expired:
            self.cancel(request.id)
        return expired

    def take(self, now: float) -> Batch:
        """The next batch for an idle device, without what has expired."""
        expired = self.expire(now)
        kind = self._next_kind()
        items, cost = self._fill(kind)
        return Batch(kind, items, cost, expired)

    def _next_kind(self) -> Kind:
        """Audio and text take turns; bulk work of one waits for interactive work of the other, not for ever."""
        other = Kind.TEXT if self._last is Kind.AUDIO else Kind.AUDIO
        waiting = {kind: any(self._lanes[kind, each] for each in Priority) for kind in Kind}
        if not waiting[other] or not waiting[self._last]:
            self._passed_over = 0
            self._last = other if waiting[other] else self._last
            return self._last
        urgent = [kind for kind in Kind if self._lanes[kind, Priority.INTERACTIVE]]
        if len(urgent) == 1 and self._passed_over < 1 / BULK_SHARE - 1:
            self._passed_over += 1
            self._last = urgent[0]
        elif len(urgent) == 1:
            self._passed_over = 0
            self._last = Kind.TEXT if urgent[0] is Kind.AUDIO else Kind.AUDIO
        else:
            self._last = other
        return self._last

    def _fill(self, kind: Kind) -> tuple[list[Item], float]:
        interactive, bulk = self._lanes[kind, Priority.INTERACTIVE], self._lanes[kind, Priority.BULK]
        items: list[Item] = []
        room = self.limits.batch_cost(kind)
        cost = 0.0

        def draw(lane: Lane, budget: float) -> float:
            """Fill up from a lane while `budget` lasts; the first item of a batch always fits."""
            drawn = 0.0
            while lane and len(items) < self.limits.batch_items(kind):
                price = lane.next_cost()
                if items and cost + drawn + price > room + 1e-9:
                    break
                if drawn + price > budget + 1e-9:
                    break
                items.append(lane.draw())
                drawn += price
            return drawn

        if interactive and bulk:
            drawn = draw(bulk, self._credit[kind])
            self._credit[kind] -= drawn
            cost += drawn
        cost += draw(interactive, math.inf)
        cost += draw(bulk, math.inf)
        if not bulk:
            self._credit[kind] = 0.0
        elif interactive:
            self._credit[kind] = min(self._credit[kind] + BULK_SHARE * cost, max(room, bulk.next_cost()))
        return items, cost

    # What the device reports

    def started(self, batch: Batch, now: float) -> None:
        expected = self.drains[batch.kind].batch_s(batch.cost)
        self._running[id(batch)] = (now, expected)

    def finished(self, batch: Batch, now: float) -> float:
        """Learn from a batch that is done; the result is how long it took.

        Where two batches are in flight, each is charged only the time since the other was done.
        """
        start, _ = self._running.pop(id(batch))
        self.drains[batch.kind].observe(batch.cost, now - max(start, self._device_free))
        self._device_free = now
        return now - start
