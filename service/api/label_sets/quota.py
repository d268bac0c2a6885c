"""Limits on the number of label sets and on their bytes, in total and per key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

from service.api.label_sets.label_set import Summary
from service.api.label_sets.set_name import SHARED, SetName
from service.api.problems import Code, Problem


@dataclass(frozen=True)
class Quota:
    """The limits, by the names of their settings. Those per key do not apply to shared sets."""

    max_label_sets: int
    max_label_sets_per_key: int
    max_label_sets_bytes: int
    max_label_sets_bytes_per_key: int

    def limits(self, owner: str) -> tuple[int, int, int, int]:
        """Sets in total and of one owner, bytes in total and of one owner."""
        sets, own_sets, size, own_size = astuple(self)
        return (sets, sets, size, size) if owner == SHARED else (sets, own_sets, size, own_size)

    def refusal(self, which: int) -> Problem:
        """The problem of a set that exceeds one of the `limits`."""
        setting, limit = list(vars(self).items())[which]
        unit, whose = ("label sets", "bytes of label sets")[which // 2], ("in total", "per key")[which % 2]
        detail = f"The limit is {limit} {unit} {whose} ({setting}). Delete a label set first."
        return Problem(Code.INVALID_REQUEST, detail)

    def check(self, name: SetName, new: Summary, stored: Mapping[SetName, Summary]) -> None:
        """Raise Problem if storing `new` under `name` beside the other `stored` sets would exceed a limit."""
        others = [(each.owner == name.owner, summary.bytes) for each, summary in stored.items() if each != name]
        own = [size for is_own, size in others if is_own]
        used = (len(others), len(own), sum(size for _, size in others), sum(own))
        for which, limit in enumerate(self.limits(name.owner)):
            if used[which] + (1, 1, new.bytes, new.bytes)[which] > limit:
                raise self.refusal(which)
