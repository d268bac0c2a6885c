"""Conditional requests (RFC 9110, section 13): a change is made only to the version that its client has seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """If-Match and If-None-Match of a change."""

    if_match: str | None = None
    if_none_match: str | None = None

    def holds(self, etag: str | None) -> bool:
        """Whether the change may be made. `etag` is of the stored version, None if there is none."""
        if self.if_none_match is not None and _matches(self.if_none_match, etag):
            return False
        return self.if_match is None or _matches(self.if_match, etag)


def _matches(wanted: str, etag: str | None) -> bool:
    return etag is not None and (wanted.strip() == "*" or etag in (each.strip() for each in wanted.split(",")))
