"""Interactive clips go before bulk ones, requests take turns, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from service.decoding.queue import BULK_TURN, Clip, ClipQueue, QueueFull
from tests.service.decoding.conftest import SHAPE


def clip(request: str, bulk: bool = False) -> Clip:
    return Clip(b"", SHAPE, request, bulk)


def put(queue: ClipQueue, clips: Iterable[Clip]) -> None:
    for each in clips:
        queue.put(each)


def taken(queue: ClipQueue, count: int) -> list[str]:
    """Requests of the next clips, each decoded before the next is taken."""
    found = []
    for _ in range(count):
        each = queue.take()
        assert each is not None
        queue.done(each)
        found.append(str(each.request))
    return found


async def test_the_clips_of_a_request_come_in_order() -> None:
    queue = ClipQueue(decoders=2, bound=10)
    clips = [clip("a") for _ in range(3)]
    put(queue, clips)
    assert [queue.take() for _ in range(4)] == [*clips, None]


async def test_requests_take_turns() -> None:
    queue = ClipQueue(decoders=2, bound=100)
    put(queue, [clip("many") for _ in range(32)])
    put(queue, [clip("one"), clip("two"), clip("two")])
    assert taken(queue, 6) == ["many", "one", "two", "many", "two", "many"]


async def test_interactive_clips_go_before_bulk_ones() -> None:
    queue = ClipQueue(decoders=2, bound=100)
    put(queue, [clip("bulk", bulk=True) for _ in range(3)])
    put(queue, [clip("a"), clip("b")])
    assert taken(queue, 5) == ["a", "b", "bulk", "bulk", "bulk"]


async def test_bulk_clips_get_a_turn_while_interactive_ones_never_cease() -> None:
    queue = ClipQueue(decoders=2, bound=100)
    put(queue, [clip("bulk", bulk=True) for _ in range(3)])
    put(queue, [clip("a") for _ in range(50)])
    order = taken(queue, 3 * BULK_TURN)
    assert [at for at, request in enumerate(order, 1) if request == "bulk"] == [BULK_TURN, 2 * BULK_TURN, 3 * BULK_TURN]


@pytest.mark.parametrize(("decoders", "bulk"), [(1, 1), (2, 1), (4, 3)])
async def test_bulk_clips_leave_a_decoder_free(decoders: int, bulk: int) -> None:
    queue = ClipQueue(decoders, bound=100)
    put(queue, [clip("bulk", bulk=True) for _ in range(9)])
    running = [each for each in [queue.take() for _ in range(decoders)] if each is not None]
    assert len(running) == bulk
    queue.put(clip("a"))
    urgent = queue.take()
    assert urgent is not None
    assert not urgent.bulk
    queue.done(running[0])
    queue.done(urgent)
    following = queue.take()
    assert following is not None
    assert following.bulk


async def test_the_queue_is_bounded_and_bulk_clips_fill_half_of_it() -> None:
    queue = ClipQueue(decoders=2, bound=10)
    put(queue, [clip("bulk", bulk=True) for _ in range(5)])
    with pytest.raises(QueueFull):
        queue.put(clip("bulk", bulk=True))
    put(queue, [clip("a") for _ in range(5)])
    with pytest.raises(QueueFull):
        queue.put(clip("a"))
    assert len(queue) == 10


async def test_a_clip_that_is_no_longer_wanted_leaves_the_queue() -> None:
    queue = ClipQueue(decoders=2, bound=10)
    clips = [clip("a"), clip("b"), clip("b")]
    put(queue, clips)
    assert queue.remove(clips[0])
    assert not queue.remove(clips[0])
    assert queue.remove(clips[1])
    assert len(queue) == 1
    assert [queue.take(), queue.take()] == [clips[2], None]
    assert not queue.remove(clips[2])
