"""The owner of the label sets that a request names."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.api.label_sets.set_name import SHARED
from service.api.middleware.exchange import exchange_of


async def owner_of(connection: HTTPConnection) -> str:
    """The caller that the gate has identified, or the owner of shared sets if no key is needed."""
    return exchange_of(connection.scope).caller or SHARED


Owner = Annotated[str, Depends(owner_of)]
"""Type of a route's parameter that receives the owner."""
