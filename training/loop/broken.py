"""Recordings that could not be read: each is logged once, and too many of them stop the run."""

from __future__ import annotations

import logging
from typing import cast

from training.loop.ranks import Ranks
from training.loop.stop import TrainingStopped

log = logging.getLogger(__name__)

# Before this many draws, as many recordings may be broken as after this many: a share of few draws is noise.
MIN_DRAWS = 100


class BrokenRecordings:
    """The names of broken recordings and the cause of each, the same on every rank."""

    def __init__(self, recordings: int, max_share: float, causes: dict[str, str]) -> None:
        """At most `max_share` of the drawn recordings may be broken. `recordings` counts all; `causes` is updated."""
        self.recordings = recordings
        self.max_share = max_share
        self.causes = causes

    def __len__(self) -> int:
        return len(self.causes)

    def new(self, found: dict[str, str]) -> dict[str, str]:
        """The recordings of `found` that were not known to be broken."""
        return {name: cause for name, cause in found.items() if name not in self.causes}

    def add(self, new: dict[str, str], ranks: Ranks) -> None:
        """Add the `new` recordings of every rank; the leader logs each. All ranks must call it together."""
        for part in ranks.collect(new):
            for name, cause in self.new(cast("dict[str, str]", part)).items():
                self.causes[name] = cause
                if ranks.leader:
                    log.warning("skipped %s: %s", name, cause)

    def check(self, drawn: int) -> None:
        """Raises TrainingStopped where, after `drawn` draws, more recordings are broken than `max_share` allows."""
        allowed = self.max_share * min(self.recordings, max(drawn, MIN_DRAWS))
        if len(self.causes) > allowed:
            name, cause = next(iter(self.causes.items()))
            raise TrainingStopped(
                f"{len(self.causes)} of about {min(self.recordings, drawn)} recordings drawn so far cannot be read, "
                f"more than the share of {self.max_share:g} that the recipe allows (loading.max_broken); "
                f"the first is {name}: {cause}"
            )
