"""Fair order among the requests of one kind and priority: round robin, a bounded cost per turn."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable

from service.worker.requests import Item, Request


class Lane:
    """The waiting requests of one kind and priority. Each gives up to `quantum` of cost, then the next has its turn."""

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
        self._subtract(request.cost)
        return request

    def next_cost(self) -> float:
        """Cost of the item that `draw` returns next."""
        head = next(iter(self.requests.values()))
        return head.costs[head.taken]

    def draw(self) -> Item:
        """Remove and return the next item in turn."""
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
        self._subtract(cost)
        return item

    def _subtract(self, cost: float) -> None:
        self.cost = self.cost - cost if self.requests else 0.0

    def ahead_of(self, cost: float) -> float:
        """Cost that is served before the last item of a new request of `cost`, that request not counted."""
        turns = math.ceil(cost / self.quantum) * self.quantum
        return sum(min(request.cost, turns) for request in self.requests.values())
