"""Which entries are evicted, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.cache.lru import Lru


def test_what_was_used_least_recently_goes_first() -> None:
    kept: Lru[str, int] = Lru(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert [kept.get(key) for key in "abc"] == [1, None, 3]


def test_an_entry_that_is_too_heavy_alone_costs_the_others_nothing() -> None:
    kept: Lru[str, int] = Lru(10, weigh=lambda entry: entry)
    kept.put("a", 4)
    kept.put("b", 11)
    assert (kept.get("a"), kept.get("b")) == (4, None)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12))), st.integers(0, 20))
def test_the_weight_is_never_over_the_limit(puts: list[tuple[int, int]], limit: int) -> None:
    kept: Lru[int, int] = Lru(limit, weigh=lambda entry: entry)
    for key, entry in puts:
        kept.put(key, entry)
        held = [found for each in range(6) if (found := kept.get(each)) is not None]
        assert sum(held) <= limit
        assert kept.get(key) == (entry if entry <= limit else None)
