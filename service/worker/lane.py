"""Fair order among the waiting requests of one kind and priority.

Groups take turns of a bounded cost. A group that has not had a turn yet goes before those that have, as the new flows
of the FQ-CoDel packet scheduler do (RFC 8290), so a short request is served at once beside any number of long ones.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from service.worker.requests import Item, Request

NEW_TURNS = 3
"""After this many turns of new groups, an older group has a turn: older groups are slowed down, never starved."""


@dataclass(slots=True)
class Group:
    """Requests of one caller, first come, first served. `turn` is the cost of the current turn so far."""

    key: Hashable
    requests: OrderedDict[Hashable, Request] = field(default_factory=OrderedDict)
    cost: float = 0.0
    turn: float = 0.0


class Lane:
    """The waiting requests of one kind and priority. `quantum` is the cost of a turn."""

    def __init__(self, quantum: float) -> None:
        self.quantum = quantum
        self.requests: dict[Hashable, Request] = {}
        self.cost = 0.0
        self._new: OrderedDict[Hashable, Group] = OrderedDict()
        self._served: OrderedDict[Hashable, Group] = OrderedDict()
        self._new_turns = 0

    def __bool__(self) -> bool:
        return bool(self.requests)

    def add(self, request: Request) -> None:
        group = self._new.get(request.group) or self._served.get(request.group)
        if group is None:
            group = self._new[request.group] = Group(request.group)
        group.requests[request.id] = self.requests[request.id] = request
        group.cost += request.cost
        self.cost += request.cost

    def remove(self, request_id: Hashable) -> Request | None:
        """Remove what still waits of a request; None if nothing does."""
        request = self.requests.get(request_id)
        if request is not None:
            group = self._new.get(request.group) or self._served[request.group]
            self._subtract(group, request.cost)
            self._drop(group, request)
            if not group.requests:
                self._forget(group)
        return request

    def cost_of(self, group: Hashable) -> float:
        """Cost that waits of one group."""
        found = self._new.get(group) or self._served.get(group)
        return 0.0 if found is None else found.cost

    def next_cost(self) -> float:
        """Cost of the item that `draw` returns next."""
        request = next(iter(self._next().requests.values()))
        return request.costs[request.taken]

    def draw(self) -> Item:
        """Remove and return the next item in turn."""
        group = self._next()
        request = next(iter(group.requests.values()))
        item = Item(request, request.taken)
        cost = request.costs[request.taken]
        request.taken += 1
        request.cost -= cost
        group.turn += cost
        self._subtract(group, cost)
        if request.taken == len(request.costs):
            self._drop(group, request)
        if group.requests and group.turn + self._head_cost(group) > self.quantum:
            self._end_turn(group)
        elif not group.requests:
            self._count_turn(new=group.key in self._new)
            self._forget(group)
        return item

    def ahead_of(self, cost: float, group: Hashable) -> float:
        """Cost of other groups that may be served before the last item, if `group` has `cost` waiting."""
        turns = math.ceil(cost / self.quantum) * self.quantum
        others = (each for groups in (self._new, self._served) for each in groups.values() if each.key != group)
        return sum(min(each.cost, turns) for each in others)

    def _next(self) -> Group:
        groups = self._served if not self._new or (self._served and self._new_turns >= NEW_TURNS) else self._new
        return next(iter(groups.values()))

    @staticmethod
    def _head_cost(group: Group) -> float:
        request = next(iter(group.requests.values()))
        return request.costs[request.taken]

    def _end_turn(self, group: Group) -> None:
        self._count_turn(new=self._new.pop(group.key, None) is not None)
        group.turn = 0.0
        self._served[group.key] = group
        self._served.move_to_end(group.key)

    def _count_turn(self, *, new: bool) -> None:
        self._new_turns = self._new_turns + 1 if new and self._served else 0

    def _drop(self, group: Group, request: Request) -> None:
        del self.requests[request.id], group.requests[request.id]
        if not group.requests:
            group.cost = 0.0  # a remainder of rounding
        if not self.requests:
            self.cost = 0.0

    def _forget(self, group: Group) -> None:
        self._new.pop(group.key, None)
        self._served.pop(group.key, None)

    def _subtract(self, group: Group, cost: float) -> None:
        group.cost -= cost
        self.cost -= cost
