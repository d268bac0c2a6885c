"""Run blocking work in a thread, unless it is shorter than the switch to a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def off_loop(brief: bool, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """`function(*arguments)`, on the event loop if it is `brief` (within half a millisecond), else in a thread."""
    return function(*arguments) if brief else await asyncio.to_thread(function, *arguments)
