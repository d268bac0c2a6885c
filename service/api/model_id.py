"""The model that an OpenAI client names in a request."""

from __future__ import annotations

import re

from model.info import ModelInfo
from service.api.problems import Code, Problem

OTHER_CHECKPOINT = re.compile(r"(.*@)?[0-9a-f]{64}|[\w.-]+/.+", re.DOTALL)
"""Matches fingerprints, and ids on the Hugging Face hub."""


def names(given: str, info: ModelInfo) -> bool:
    """Whether `given` is the name of the checkpoint that is served, its fingerprint, or both: `name@fingerprint`."""
    return given in (info.config.name, info.fingerprint, info.id)


def check_model(given: str | None, info: ModelInfo) -> None:
    """Raise Problem for the fingerprint or hub id of another checkpoint: its embeddings cannot be compared with ours.

    Any other string is taken, because many clients always send a model's name of OpenAI's.
    """
    if given is not None and not names(given, info) and OTHER_CHECKPOINT.fullmatch(given):
        raise unknown_model(given, info)


def unknown_model(given: str, info: ModelInfo) -> Problem:
    return Problem(Code.NOT_FOUND, f"model: {given[:200]!r} is not served here; {info.id} is")
