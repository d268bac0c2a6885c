"""The first message of a stream: the fields of a classification, the form of the samples, and a key."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SecretStr

from model.audio.pcm import HIGHEST_RATE, LOWEST_RATE, Encoding
from service.api.json_body import parse_object
from service.api.request import Fields, Labelled, check_fields
from service.settings import Settings


class StreamFields(Fields):
    """The fields of a classification, and the form of the samples: mono, at `sample_rate` Hz."""

    encoding: Encoding
    sample_rate: int = Field(ge=LOWEST_RATE, le=HIGHEST_RATE)
    api_key: SecretStr | None = None


def read_opening(text: str, settings: Settings) -> tuple[StreamFields, Labelled]:
    """What the first message asks for. Raises Problem."""
    members: dict[str, Any] = parse_object([text.encode()])
    return check_fields(StreamFields, members, settings)
