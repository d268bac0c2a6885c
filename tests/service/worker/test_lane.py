"""Turns among requests: a short one is served at once beside long ones, and no long one starves."""

from __future__ import annotations

import itertools

from service.ipc.embedding import Priority
from service.worker.lane import NEW_TURNS, Lane
from service.worker.requests import Kind, Request


def request(name: str, count: int = 1, *, group: str | None = None) -> Request:
    """A request of `count` items that cost 1 each."""
    return Request(name, group or name, Kind.AUDIO, Priority.INTERACTIVE, [1.0] * count, 1_000.0, 0.0)


def lane(*requests: Request, quantum: float = 2.0) -> Lane:
    waiting = Lane(quantum)
    for each in requests:
        waiting.add(each)
    return waiting


def drawn(waiting: Lane, count: int = 1_000) -> str:
    """The names of the next items, in order."""
    return "".join(str(waiting.draw().request.id) for _ in itertools.takewhile(lambda _: waiting, range(count)))


def test_groups_take_turns_of_a_quantum() -> None:
    assert drawn(lane(request("a", 5), request("b", 5))) == "aabbaabbab"


def test_a_short_request_goes_before_any_number_of_long_ones() -> None:
    waiting = lane(*(request(name, 100) for name in "abcdefgh"))
    drawn(waiting, 100)  # each has had a turn
    waiting.add(request("z"))
    assert drawn(waiting, 1) == "z"


def test_long_requests_are_not_starved_by_short_ones() -> None:
    waiting = lane(request("a", 100))
    drawn(waiting, 2)
    for name in "klmnopqr":
        waiting.add(request(name))
    assert drawn(waiting, 10).index("a") == NEW_TURNS


def test_the_requests_of_a_group_share_its_turns() -> None:
    clips = [request(name, 2, group="many") for name in "abc"]
    assert drawn(lane(*clips, request("z", 4))) == "aazzbbzzcc"


def test_removing_a_request_leaves_the_rest_of_its_group() -> None:
    waiting = lane(request("a", 2, group="g"), request("b", 2, group="g"), request("z"))
    removed = waiting.remove("a")
    assert removed is not None
    assert waiting.cost == 3
    assert waiting.cost_of("g") == 2
    assert drawn(waiting) == "bbz"
    assert waiting.remove("a") is None


def test_costs_come_back_to_zero() -> None:
    waiting = Lane(1.0)
    for number in range(50):
        waiting.add(Request(number, number % 3, Kind.AUDIO, Priority.BULK, [0.1] * 7, 1_000.0, 0.0))
    for number in range(0, 50, 2):
        waiting.remove(number)
    drawn(waiting)
    assert waiting.cost == 0
    assert waiting.cost_of(1) == 0
    assert not waiting.requests


def test_what_goes_before_a_request_counts_each_other_group_for_as_many_turns() -> None:
    waiting = lane(request("a", 100), request("b", 3), request("c", 100))
    assert waiting.ahead_of(2, group="new") == 2 + 2 + 2
    assert waiting.ahead_of(3, group="new") == 4 + 3 + 4
    assert waiting.ahead_of(2, group="c") == 2 + 2
