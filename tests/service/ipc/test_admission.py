"""The admission cache: a refusal holds for requests that would be refused as well, until there is room again."""

from __future__ import annotations

import pytest

from service.ipc.admission import LONGEST_S, AdmissionCache
from service.ipc.embedding import Overloaded, Priority

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE


def refuses(cache: AdmissionCache, priority: Priority = INTERACTIVE, deadline: float = 30, now: float = 0) -> bool:
    try:
        cache.check(priority, deadline, now)
    except Overloaded:
        return True
    return False


def test_an_empty_cache_refuses_nothing() -> None:
    assert not refuses(AdmissionCache())


def test_a_refusal_holds_until_there_is_room() -> None:
    cache = AdmissionCache()
    cache.remember(INTERACTIVE, deadline=30, retry_after_s=0.1, now=0)
    assert refuses(cache, now=0.09, deadline=30.09)
    assert not refuses(cache, now=0.11, deadline=30.11)


def test_a_refusal_says_when_there_is_room() -> None:
    cache = AdmissionCache()
    cache.remember(INTERACTIVE, deadline=30, retry_after_s=0.1, now=0)
    with pytest.raises(Overloaded) as caught:
        cache.check(INTERACTIVE, deadline=30, now=0.04)
    assert caught.value.retry_after_s == pytest.approx(0.06)


def test_a_refusal_is_not_believed_for_long() -> None:
    cache = AdmissionCache()
    cache.remember(INTERACTIVE, deadline=30, retry_after_s=60, now=0)
    assert not refuses(cache, now=LONGEST_S + 0.01, deadline=30)


def test_a_request_with_more_time_is_asked_for() -> None:
    cache = AdmissionCache()
    cache.remember(INTERACTIVE, deadline=1, retry_after_s=0.4, now=0)
    assert refuses(cache, deadline=1.3)
    assert not refuses(cache, deadline=1.5)


def test_what_bulk_work_is_refused_interactive_work_is_not() -> None:
    cache = AdmissionCache()
    cache.remember(BULK, deadline=30, retry_after_s=0.4, now=0)
    assert refuses(cache, BULK)
    assert not refuses(cache, INTERACTIVE)


def test_what_interactive_work_is_refused_bulk_work_is_too() -> None:
    cache = AdmissionCache()
    cache.remember(INTERACTIVE, deadline=30, retry_after_s=0.4, now=0)
    assert refuses(cache, BULK)
