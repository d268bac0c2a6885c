"""What scores depend on: the settings of a run that its folder keeps, and that the next run into it must share."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from model.classify import Activation

Layout = Literal["long", "wide"]
VERSION = 1


class SettingsDiffer(ValueError):
    """The folder holds rows of other settings."""


@dataclass(frozen=True)
class ScoreSettings:
    """`hop_s` is that of events. `labels_digest` stands for prompts, examples and thresholds (`bulk.labels`)."""

    model: str
    fingerprint: str
    labels: tuple[str, ...]
    labels_digest: str
    template: str
    activation: Activation
    top_k: int | None
    none_of_these: bool
    layout: Layout
    events: bool
    hop_s: float | None
    threshold: float | None
    max_seconds: float
    version: int = VERSION

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "labels": list(self.labels)}

    def check_same(self, stored: dict[str, Any]) -> None:
        """Raise SettingsDiffer naming the first setting that differs from those stored by `as_json`."""
        mine = self.as_json()
        for name in (field.name for field in fields(self)):
            if stored.get(name) != mine[name]:
                there, here = stored.get(name), mine[name]
                if name in ("fingerprint", "labels_digest", "labels"):
                    what = {"fingerprint": "the weights", "labels": "the labels"}.get(
                        name, "the labels' prompts, examples or thresholds"
                    )
                    raise SettingsDiffer(f"{what} are not those of the rows that are there")
                raise SettingsDiffer(f"`{name}` is {here!r}, and {there!r} in the rows that are there")
