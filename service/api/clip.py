"""A recording as a client sent it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.api.base64_text import decode_base64
from service.api.labels import check_unicode
from service.api.problems import invalid


@dataclass(frozen=True)
class Clip:
    """One recording as it was sent."""

    name: str
    data: bytes | bytearray


def json_clip(item: Any, place: str, unnamed: str) -> Clip:
    """A clip from its JSON object, which gives up its data. Raises Problem naming the `place`."""
    if not isinstance(item, dict) or not isinstance(item.get("data"), str) or item.keys() - {"data", "name"}:
        raise invalid(f'{place}: {{"data": base64, "name": string}} is needed')
    name = item.get("name") or unnamed
    if not isinstance(name, str):
        raise invalid(f"{place}.name: a string is needed")
    check_unicode(name, f"{place}.name")
    try:
        return Clip(name, decode_base64(item.pop("data")))
    except ValueError:
        raise invalid(f"{place}.data: not valid base64") from None
