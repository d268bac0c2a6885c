"""Pools whose decoders do what a clip tells them to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from model.audio import AudioError, Limits
from service.decoding.pool import DecodePool
from service.decoding.shape import Shape
from tests.service.conftest import encoded
from tests.service.decoding.attacks import attacked
from tests.service.spectral import CONFIG, tone

SHAPE = Shape.of(CONFIG.front_end)
CLIP = encoded(tone(200))
LIMITS = Limits(max_seconds=30)


def pool(processes: int = 1, wall_s: float = 30, cpu_s: int = 20) -> DecodePool:
    return DecodePool(processes, LIMITS, wall_s, cpu_s, decode=attacked)


async def failure(decoding: DecodePool, clip: str | bytes) -> AudioError:
    with pytest.raises(AudioError) as caught:
        await decoding.decode(clip.encode() if isinstance(clip, str) else clip, SHAPE)
    return caught.value


async def reason(decoding: DecodePool, clip: str | bytes) -> str:
    return (await failure(decoding, clip)).reason


async def decodes(decoding: DecodePool) -> None:
    """Check that a valid clip is decoded, so that there is a working decoder."""
    await decoding.decode(CLIP, SHAPE)


def processes(decoding: DecodePool) -> set[int]:
    return {decoder.process for decoder in decoding._decoders}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for is another process' doing
            await asyncio.sleep(0.01)
