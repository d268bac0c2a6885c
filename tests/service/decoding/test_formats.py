"""A confined decoder reads every format that is promised, as a free process does."""

from __future__ import annotations

import os

import numpy as np

from model.audio import load
from model.windows import cut
from service.decoding.shape import Decoded
from tests.model.audio.clips import FORMATS, dsf, encode, sndfile, tone
from tests.service.decoding.conftest import SHAPE, pool, processes


async def test_every_format_is_read_in_the_sandbox() -> None:
    left = tone(0.5)
    clips = {name: encode(name, seconds=0.5, channels=1) for name in FORMATS}
    clips["chain"] = clips["ogg"] + clips["opus"] + clips["ogg-flac"]
    clips["inverted"] = sndfile(np.concatenate([left, -left], axis=1), 44_100, "FLAC")
    clips["dsf"] = dsf(tone(0.2), 44_100)
    clips["damaged"] = clips["flac"][:20_000] + os.urandom(2_000) + clips["flac"][22_000:]
    async with pool() as decoding:
        before = processes(decoding)
        for name, clip in clips.items():
            decoded = await decoding.decode(clip, SHAPE)
            assert isinstance(decoded, Decoded)
            expected, _ = cut(load(clip, SHAPE.rate), SHAPE.window, SHAPE.hop, SHAPE.padding)
            np.testing.assert_array_equal(decoded.windows, expected, err_msg=name)
        assert processes(decoding) == before
