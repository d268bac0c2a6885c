"""Order, admission and batches, with a clock that stands still unless a test moves it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from service.ipc.embedding import Priority
from service.worker.batching import BULK_SHARE, EXPECTED_S, BatchQueue, Refused
from service.worker.queue_rate import QueueRate
from service.worker.requests import Batch, Kind, Request
from service.worker.wait_estimate import QueueLimits

LIMITS = QueueLimits(
    batch_seconds=40, batch_windows=8, batch_tokens=64, batch_prompts=8, queue_seconds=400, queue_tokens=1_000
)
LATE = 1_000.0


def queue(limits: QueueLimits = LIMITS, a: float = 0.01, b: float = 0.0) -> BatchQueue:
    """A queue on a device that takes `a` s for each unit of cost and `b` s for each batch."""
    rates = {kind: QueueRate() for kind in Kind}
    for rate in rates.values():
        for cost in (5, 10, 20):
            rate.observe(cost, a * cost + b)
    return BatchQueue(limits, rates)


def audio(
    name: str,
    count: int = 1,
    *,
    priority: Priority = Priority.INTERACTIVE,
    deadline: float = LATE,
    seconds: float = 5.0,
    group: str | None = None,
) -> Request:
    return Request(name, group or name, Kind.AUDIO, priority, [seconds] * count, deadline, 0.0)


def text(name: str, count: int = 1, *, priority: Priority = Priority.INTERACTIVE) -> Request:
    return Request(name, name, Kind.TEXT, priority, [8.0] * count, LATE, 0.0)


def names(batch: Batch) -> list[object]:
    return [item.request.id for item in batch.items]


def batches(waiting: BatchQueue, now: float = 0.0) -> Iterator[Batch]:
    """All batches until the queue is empty."""
    while (batch := waiting.take(now)).items:
        yield batch


class TestBatches:
    def test_an_idle_device_gets_whatever_waits_at_once(self) -> None:
        waiting = queue()
        waiting.admit(audio("a"), now=0)
        assert names(waiting.take(now=0)) == ["a"]

    def test_an_empty_queue_gives_an_empty_batch(self) -> None:
        assert queue().take(now=0).items == []

    def test_what_arrives_while_the_device_is_busy_makes_one_batch(self) -> None:
        waiting = queue()
        for name in "abcdef":
            waiting.admit(audio(name), now=0)
        assert names(waiting.take(now=0)) == list("abcdef")

    def test_a_batch_is_bounded_by_audio_seconds(self) -> None:
        waiting = queue()
        waiting.admit(audio("a", 4, seconds=15), now=0)
        assert [batch.cost for batch in batches(waiting)] == [30, 30]

    def test_a_batch_is_bounded_by_items(self) -> None:
        waiting = queue()
        waiting.admit(audio("a", 20, seconds=1), now=0)
        assert [len(batch.items) for batch in batches(waiting)] == [8, 8, 4]

    def test_padding_counts(self) -> None:
        waiting = queue()
        prompts = Request("t", "t", Kind.TEXT, Priority.INTERACTIVE, [30.0, 4.0, 4.0, 4.0], LATE, 0.0)
        waiting.admit(prompts, now=0)
        assert [(len(batch.items), batch.cost) for batch in batches(waiting)] == [(2, 60), (2, 8)]

    def test_a_thread_takes_only_its_kinds(self) -> None:
        waiting = queue()
        waiting.admit(audio("a"), now=0)
        assert waiting.take(0, (Kind.TEXT,)).items == []
        waiting.admit(text("t"), now=0)
        assert names(waiting.take(0, (Kind.TEXT,))) == ["t"]
        assert names(waiting.take(0, (Kind.AUDIO,))) == ["a"]

    def test_an_item_larger_than_a_batch_goes_alone(self) -> None:
        waiting = queue()
        waiting.admit(audio("a", 2, seconds=50), now=0)
        assert [names(batch) for batch in batches(waiting)] == [["a"], ["a"]]

    def test_every_item_leaves_once_and_in_order(self) -> None:
        waiting = queue()
        for name, count in (("a", 3), ("b", 11), ("c", 1), ("d", 7)):
            waiting.admit(audio(name, count), now=0)
        taken: dict[object, list[int]] = {}
        for item in itertools.chain.from_iterable(batch.items for batch in batches(waiting)):
            taken.setdefault(item.request.id, []).append(item.index)
        assert taken == {"a": [0, 1, 2], "b": list(range(11)), "c": [0], "d": list(range(7))}
        assert len(waiting) == 0
        assert waiting.waiting(Kind.AUDIO) == 0

    def test_a_long_request_lets_others_into_its_batches(self) -> None:
        waiting = queue()
        waiting.admit(audio("long", 70, deadline=1e6), now=0)
        waiting.admit(audio("short"), now=0)
        first = names(waiting.take(now=0))
        assert "short" in first
        assert first.count("long") == 7

    def test_short_requests_are_not_torn_apart(self) -> None:
        waiting = queue()
        for name in "abcdef":
            waiting.admit(audio(name, 2), now=0)
        assert names(waiting.take(now=0)) == list("aabbccdd")

    def test_two_long_requests_share_a_batch(self) -> None:
        waiting = queue()
        waiting.admit(audio("a", 30, deadline=1e6), now=0)
        waiting.admit(audio("b", 30, deadline=1e6), now=0)
        for batch in itertools.islice(batches(waiting), 5):
            assert names(batch).count("a") == names(batch).count("b") == 4


class TestKinds:
    def test_a_batch_holds_one_kind(self) -> None:
        waiting = queue()
        waiting.admit(audio("a"), now=0)
        waiting.admit(text("t"), now=0)
        assert sorted(names(batch) for batch in batches(waiting)) == [["a"], ["t"]]

    def test_kinds_take_turns(self) -> None:
        waiting = queue()
        waiting.admit(audio("a", 24), now=0)
        waiting.admit(text("t", 24), now=0)
        assert [batch.kind for batch in batches(waiting)] == [Kind.TEXT, Kind.AUDIO] * 3

    def test_bulk_of_one_kind_waits_for_interactive_work_of_the_other_but_not_for_ever(self) -> None:
        waiting = queue(QueueLimits(**{**vars(LIMITS), "queue_seconds": 10_000, "queue_tokens": 10_000}))
        waiting.admit(audio("a", 160), now=0)
        waiting.admit(text("t", 160, priority=Priority.BULK), now=0)
        kinds = [batch.kind for batch in itertools.islice(batches(waiting), 16)]
        assert kinds.count(Kind.TEXT) == 16 * BULK_SHARE


class TestPriorities:
    def test_interactive_goes_before_bulk(self) -> None:
        waiting = queue()
        waiting.admit(audio("bulk", 8, priority=Priority.BULK), now=0)
        waiting.admit(audio("now", 8), now=0)
        assert set(names(waiting.take(now=0))) == {"now"}

    def test_bulk_fills_what_interactive_leaves(self) -> None:
        waiting = queue()
        waiting.admit(audio("bulk", 8, priority=Priority.BULK), now=0)
        waiting.admit(audio("now", 3), now=0)
        assert names(waiting.take(now=0)) == ["now"] * 3 + ["bulk"] * 5

    def test_bulk_batches_are_small_beside_interactive_audio_and_shortly_after_it(self) -> None:
        waiting = queue(QueueLimits(**{**vars(LIMITS), "mixed_windows": 4}))
        waiting.admit(audio("bulk", 20, priority=Priority.BULK), now=0)
        waiting.admit(audio("now", 1), now=0)
        assert names(waiting.take(now=0)) == ["now", *["bulk"] * 3]
        assert names(waiting.take(now=EXPECTED_S / 2)) == ["bulk"] * 4
        assert names(waiting.take(now=EXPECTED_S)) == ["bulk"] * 8

    def test_interactive_audio_that_is_still_being_decoded_keeps_bulk_batches_small(self) -> None:
        waiting = queue(QueueLimits(**{**vars(LIMITS), "mixed_windows": 4}))
        waiting.admit(audio("bulk", 20, priority=Priority.BULK), now=0)
        assert names(waiting.take(now=0)) == ["bulk"] * 8
        waiting.reserve("now", 5, Priority.INTERACTIVE, deadline=LATE, now=0)
        assert names(waiting.take(now=0)) == ["bulk"] * 4

    def test_bulk_gets_its_share_of_full_batches(self) -> None:
        waiting = queue(QueueLimits(**{**vars(LIMITS), "queue_seconds": 10_000}))
        waiting.admit(audio("bulk", 100, priority=Priority.BULK), now=0)
        waiting.admit(audio("now", 400), now=0)
        taken = list(itertools.chain.from_iterable(names(b) for b in itertools.islice(batches(waiting), 32)))
        assert taken.count("bulk") / len(taken) == pytest.approx(BULK_SHARE, abs=0.01)

    def test_bulk_is_not_starved_by_batches_of_one(self) -> None:
        waiting = queue(QueueLimits(**{**vars(LIMITS), "batch_windows": 1}))
        waiting.admit(audio("bulk", 1, priority=Priority.BULK), now=0)
        waiting.admit(audio("now", 30), now=0)
        served = list(itertools.chain.from_iterable(names(batch) for batch in batches(waiting)))
        assert served.index("bulk") <= 1 / BULK_SHARE


class TestLeaving:
    def test_cancelled_work_never_reaches_the_device(self) -> None:
        waiting = queue()
        waiting.admit(audio("a", 4), now=0)
        waiting.admit(audio("b"), now=0)
        cancelled = waiting.cancel("a")
        assert cancelled is not None
        assert cancelled.id == "a"
        assert names(waiting.take(now=0)) == ["b"]
        assert waiting.cancel("a") is None

    def test_cancelling_a_request_in_the_middle_drops_the_rest(self) -> None:
        waiting = queue()
        waiting.admit(audio("a", 20), now=0)
        waiting.take(now=0)
        waiting.cancel("a")
        assert waiting.take(now=0).items == []
        assert waiting.waiting(Kind.AUDIO) == 0

    def test_expired_work_is_dropped_and_reported(self) -> None:
        waiting = queue()
        waiting.admit(audio("late", deadline=1), now=0)
        waiting.admit(audio("fine"), now=0)
        batch = waiting.take(now=1)
        assert names(batch) == ["fine"]
        assert [request.id for request in batch.expired] == ["late"]
        assert waiting.take(now=1).expired == []

    def test_an_expired_reservation_frees_its_room(self) -> None:
        waiting = queue()
        waiting.reserve("r", 100, Priority.INTERACTIVE, 5, now=0)
        assert waiting.waiting(Kind.AUDIO) == 100
        waiting.expire(now=5)
        assert waiting.waiting(Kind.AUDIO) == 0


class TestAdmission:
    def test_the_queue_is_bounded_in_audio_seconds(self) -> None:
        waiting = queue()
        waiting.admit(audio("a", 80), now=0)
        with pytest.raises(Refused, match="full"):
            waiting.admit(audio("b"), now=0)

    def test_a_request_is_admitted_whole_or_not_at_all(self) -> None:
        waiting = queue()
        waiting.admit(audio("a", 79), now=0)
        with pytest.raises(Refused):
            waiting.admit(audio("b", 2), now=0)
        assert waiting.waiting(Kind.AUDIO) == 79 * 5
        waiting.admit(audio("c", 1), now=0)

    def test_after_retry_after_the_same_request_fits(self) -> None:
        waiting = queue(a=0.01)
        waiting.admit(audio("a", 80), now=0)
        with pytest.raises(Refused) as refused:
            waiting.admit(audio("b", 8), now=0)
        now = run(waiting, until=refused.value.retry_after_s)
        waiting.admit(audio("b", 8), now)
        assert now == pytest.approx(refused.value.retry_after_s, abs=0.41)

    def test_a_deadline_that_cannot_be_met_is_refused_with_the_time_it_lacks(self) -> None:
        waiting = queue(a=0.01)
        waiting.admit(audio("a", 78, deadline=1e6), now=0)
        with pytest.raises(Refused, match="deadline") as refused:
            waiting.admit(audio("b", 2, priority=Priority.BULK, deadline=3), now=0)
        assert refused.value.retry_after_s == pytest.approx((390 + 10) * 0.01 - 3)

    def test_an_idle_device_tries_what_it_is_thought_too_slow_for(self) -> None:
        waiting = queue(a=100.0)
        waiting.admit(audio("a", 2, deadline=1), now=0)
        with pytest.raises(Refused, match="deadline"):
            waiting.admit(audio("b", 2, deadline=1), now=0)

    def test_a_short_request_is_not_charged_for_a_long_ones_whole_length(self) -> None:
        waiting = queue(a=0.01)
        waiting.admit(audio("long", 70, deadline=1e6), now=0)
        waiting.admit(audio("short", 1, deadline=0.3), now=0)

    def test_what_the_device_runs_counts(self) -> None:
        waiting = queue(a=0.1)
        waiting.admit(audio("a", 8), now=0)
        batch = waiting.take(now=0)
        waiting.estimate.started(batch, now=0)
        assert waiting.wait_s(Kind.AUDIO, Priority.INTERACTIVE, 5, now=1) == pytest.approx(3 + 0.5)
        waiting.estimate.finished(batch, now=4)
        assert waiting.wait_s(Kind.AUDIO, Priority.INTERACTIVE, 5, now=4) == pytest.approx(0.5)

    def test_bulk_cannot_fill_the_queue(self) -> None:
        waiting = queue()
        waiting.admit(audio("bulk", 40, priority=Priority.BULK), now=0)
        with pytest.raises(Refused):
            waiting.admit(audio("more", priority=Priority.BULK), now=0)
        waiting.admit(audio("now", 40), now=0)

    def test_more_than_the_bound_is_served_when_nothing_else_waits(self) -> None:
        waiting = queue()
        waiting.admit(audio("huge", 100), now=0)
        with pytest.raises(Refused):
            waiting.admit(audio("a"), now=0)

    def test_a_reservation_holds_room_for_all_clips_of_a_request(self) -> None:
        waiting = queue()
        waiting.reserve("r", 300, Priority.INTERACTIVE, LATE, now=0)
        with pytest.raises(Refused):
            waiting.admit(audio("stranger", 21), now=0)
        for name in "abc":
            clip = audio(name, 20, group="r")
            waiting.admit(clip, now=0)
        assert waiting.waiting(Kind.AUDIO) == 300
        waiting.release("r")
        assert waiting.waiting(Kind.AUDIO) == 300

    def test_what_was_not_used_of_a_reservation_is_given_back(self) -> None:
        waiting = queue()
        waiting.reserve("r", 300, Priority.INTERACTIVE, LATE, now=0)
        clip = audio("a", 20, group="r")
        waiting.admit(clip, now=0)
        waiting.release("r")
        assert waiting.waiting(Kind.AUDIO) == 100

    def test_more_than_was_reserved_is_checked(self) -> None:
        waiting = queue()
        waiting.reserve("r", 100, Priority.INTERACTIVE, LATE, now=0)
        waiting.admit(audio("others", 60), now=0)
        clip = audio("a", 21, group="r")
        with pytest.raises(Refused):
            waiting.admit(clip, now=0)

    def test_an_unknown_reservation_reserves_nothing(self) -> None:
        waiting = queue()
        clip = audio("a", 2, group="gone")
        waiting.admit(clip, now=0)
        assert waiting.waiting(Kind.AUDIO) == 10

    @pytest.mark.parametrize("priority", list(Priority))
    def test_the_longest_clip_is_served_by_an_idle_device(self, priority: Priority) -> None:
        waiting = queue(QueueLimits(queue_seconds=600, batch_seconds=40))
        waiting.reserve("r", 5, priority, 30, now=0)
        waiting.admit(audio("clip", 120, priority=priority, deadline=30, group="r"), now=1)
        assert waiting.waiting(Kind.AUDIO) == 600

    def test_two_of_the_longest_clips_in_one_request_are_served(self) -> None:
        waiting = queue(QueueLimits(queue_seconds=600, batch_seconds=40))
        waiting.reserve("r", 10, Priority.INTERACTIVE, 30, now=0)
        waiting.admit(audio("one", 118, deadline=30, group="r"), now=1)
        running = waiting.take(now=1)
        waiting.estimate.started(running, now=1)
        waiting.admit(audio("two", 118, deadline=30, group="r"), now=1.1)
        assert sum(len(batch.items) for batch in [running, *batches(waiting, now=2)]) == 2 * 118

    def test_the_longest_bulk_clip_is_served_beside_short_requests(self) -> None:
        waiting = queue(QueueLimits(queue_seconds=600, batch_seconds=40))
        waiting.admit(audio("short", 3), now=0)
        waiting.admit(audio("other bulk", 10, priority=Priority.BULK), now=0)
        waiting.admit(audio("clip", 120, priority=Priority.BULK), now=0)

    def test_long_requests_are_let_in_one_at_a_time(self) -> None:
        waiting = queue(QueueLimits(queue_seconds=600, batch_seconds=40))
        waiting.admit(audio("one", 240), now=0)
        with pytest.raises(Refused, match="full"):
            waiting.admit(audio("two", 240), now=0)

    def test_a_huge_request_of_prompts_does_not_hold_up_a_small_one(self) -> None:
        waiting = queue()
        for number in range(6):
            waiting.admit(text(f"huge {number}", 20), now=0)
        for _ in range(6):
            waiting.take(now=0)
        waiting.admit(text("small"), now=0)
        assert names(waiting.take(now=0))[0] == "small"

    def test_a_request_without_items_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="without items"):
            queue().admit(audio("a", 0), now=0)

    def test_two_batches_in_flight_are_not_charged_twice(self) -> None:
        waiting = queue(a=0.1)
        rate = waiting.estimate.rates[Kind.AUDIO]
        waiting.admit(audio("a", 64), now=0)
        first, second = waiting.take(now=0), waiting.take(now=0)
        waiting.estimate.started(first, now=0)
        waiting.estimate.started(second, now=0)
        waiting.estimate.finished(first, now=4)
        waiting.estimate.finished(second, now=8)
        assert rate.batch_s(40) == pytest.approx(4)


def run(waiting: BatchQueue, until: float) -> float:
    """Let the device work, at the speed the queue expects, until about that time."""
    now = 0.0
    while now < until:
        batch = waiting.take(now)
        waiting.estimate.started(batch, now)
        now += waiting.estimate.rates[batch.kind].batch_s(batch.cost)
        waiting.estimate.finished(batch, now)
    return now
