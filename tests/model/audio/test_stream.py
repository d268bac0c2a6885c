"""A recording in blocks: the samples of the whole, in the memory of a block."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.audio import AudioError, ChannelsCancel, Limits, Samples, load, stream
from tests.model.audio.clips import FORMATS, encode

LIMITS = Limits()
OPPOSITE = np.array([[0.5, -0.5]], np.float32) * np.sin(np.arange(40_000) / 7)[:, np.newaxis].astype(np.float32)

HOURS = """
import resource, sys
from pathlib import Path
from model.audio import Limits, stream
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
samples = sum(len(block) for block in stream(Path(sys.argv[1]), 8_000, Limits(1e6, 1 << 50)))
print(samples, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def joined(source: memoryview | Path, rate: int, limits: Limits = LIMITS, **channels: dict[int, int]) -> Samples:
    return np.concatenate(list(stream(source, rate, limits, **channels)))


def wav(samples: Samples, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("name", FORMATS)
def test_the_blocks_are_the_samples_of_the_whole(name: str, rate: int) -> None:
    data = encode(name)
    assert np.array_equal(joined(memoryview(data), rate), load(data, rate))


def test_a_chain_is_read_to_its_end() -> None:
    parts = []
    for seed, rate in ((0, 16_000), (1, 8_000)):
        file = io.BytesIO()
        noise = np.random.default_rng(seed).normal(0, 0.1, rate)
        soundfile.write(file, noise, rate, format="OGG", subtype="VORBIS")
        parts.append(file.getvalue())
    chain = b"".join(parts)
    assert np.array_equal(joined(memoryview(chain), 22_050), load(chain, 22_050))


def test_channels_that_cancel_are_told_at_the_end_and_the_loudest_is_read_then() -> None:
    data = wav(OPPOSITE)
    with pytest.raises(ChannelsCancel) as caught:
        joined(memoryview(data), 8_000)
    again = joined(memoryview(data), 8_000, channels={caught.value.part: caught.value.channel})
    assert np.array_equal(again, load(data, 8_000))


@pytest.mark.parametrize("data", [b"", b"no audio at all", wav(np.zeros(0, np.float32)), b"fLaC" + bytes(50)])
def test_what_cannot_be_read_is_refused_as_by_load(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "clip"
    file.write_bytes(data)
    with pytest.raises(AudioError) as whole:
        load(data, 8_000)
    for source in (memoryview(data), file):
        with pytest.raises(AudioError) as streamed:
            joined(source, 8_000)
        assert (streamed.value.reason, streamed.value.detail) == (whole.value.reason, whole.value.detail)


def test_samples_that_are_not_finite_and_clips_over_the_limits_are_refused() -> None:
    with pytest.raises(AudioError, match="NaN"):
        joined(memoryview(wav(np.array([0, np.nan, 0], np.float32))), 8_000)
    with pytest.raises(AudioError, match="the limit is 1 s"):
        joined(memoryview(wav(np.zeros(32_000, np.float32))), 8_000, Limits(max_seconds=1))


def test_hours_take_the_memory_of_a_block(tmp_path: Path) -> None:
    file = tmp_path / "hours.wav"
    with soundfile.SoundFile(file, "w", 16_000, 2, format="WAV", subtype="PCM_16") as sound:
        for _ in range(60):
            sound.write(np.zeros((16_000 * 60, 2), np.int16))
    done = subprocess.run([sys.executable, "-c", HOURS, file], capture_output=True, text=True, check=True)
    samples, grown = map(int, done.stdout.split())
    assert samples == 8_000 * 3_600
    assert grown * 1024 < 128 << 20 < file.stat().st_size
