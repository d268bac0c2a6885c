"""A loaded model as other processes see it."""

from __future__ import annotations

from dataclasses import dataclass

from model.config import ClapConfig


@dataclass(frozen=True)
class ModelInfo:
    """The checkpoint that an engine runs, and how."""

    config: ClapConfig
    fingerprint: str
    logit_scale: float
    device: str
    dtype: str

    @property
    def id(self) -> str:
        """`name@fingerprint`: the name of the embedding space, and its version."""
        return f"{self.config.name}@{self.fingerprint}"
