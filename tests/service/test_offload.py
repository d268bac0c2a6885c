"""Brief work runs on the event loop, other work in a thread."""

from __future__ import annotations

import threading

from service.offload import off_loop


async def test_brief_work_stays() -> None:
    assert await off_loop(True, threading.get_ident) == threading.get_ident()


async def test_other_work_goes_to_a_thread() -> None:
    assert await off_loop(False, threading.get_ident) != threading.get_ident()
