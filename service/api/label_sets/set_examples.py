"""The examples of a registered label set: prototypes, with the checkpoint that made them. Never recordings."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import PlainSerializer, PlainValidator

from model.examples import MAX_EXAMPLES, Prototype
from service.api.problems import Code, Problem
from service.cache.stored_vectors import NORM_TOLERANCE

PROTOTYPE_OVERHEAD_BYTES = 400
"""Memory of the Python objects of one prototype, beside its values."""


def write_prototype(prototype: Prototype) -> dict[str, Any]:
    """As JSON: the number of examples, and the mean in base64 of little-endian float16."""
    return {"count": prototype.count, "mean": base64.b64encode(prototype.mean.astype("<f2").tobytes()).decode()}


def read_prototype(value: Any) -> Prototype:
    """Raises ValueError for what `write_prototype` has not written."""
    if not isinstance(value, dict) or not isinstance(value.get("mean"), str) or not isinstance(value.get("count"), int):
        raise ValueError("not a prototype")
    try:
        mean = np.frombuffer(binascii.a2b_base64(value["mean"], strict_mode=True), "<f2").astype(np.float32)
    except binascii.Error as error:
        raise ValueError(f"not a prototype: {error}") from None
    if not 1 <= value["count"] <= MAX_EXAMPLES or not abs(float(np.linalg.norm(mean)) - 1) < NORM_TOLERANCE:
        raise ValueError("not a prototype")
    return Prototype(mean, value["count"])


StoredPrototype = Annotated[Prototype, PlainValidator(read_prototype), PlainSerializer(write_prototype)]


@dataclass(frozen=True)
class SetExamples:
    """Prototypes by label, made by the checkpoint of this fingerprint."""

    fingerprint: str
    prototypes: dict[str, StoredPrototype]

    @cached_property
    def memory_bytes(self) -> int:
        """Approximate memory that the prototypes take."""
        return sum(each.mean.nbytes + PROTOTYPE_OVERHEAD_BYTES for each in self.prototypes.values())

    @property
    def shown(self) -> dict[str, Any]:
        """What a client sees: the fingerprint, and how many examples each label has."""
        return {
            "fingerprint": self.fingerprint,
            "counts": {name: prototype.count for name, prototype in self.prototypes.items()},
        }

    @property
    def dims(self) -> set[int]:
        """The dimensions of the prototypes; one, unless the stored document was tampered with."""
        return {len(prototype.mean) for prototype in self.prototypes.values()}

    def check(self, fingerprint: str, dim: int) -> None:
        """Raise Problem if another checkpoint than the one of this fingerprint and dimension made the prototypes."""
        if self.fingerprint != fingerprint or len(next(iter(self.prototypes.values())).mean) != dim:
            raise Problem(
                Code.STALE_LABEL_SET,
                f"The examples of this label set were embedded by checkpoint {self.fingerprint[:12]}, and the service "
                f"now has {fingerprint[:12]}. Register the set again, with its examples.",
            )
