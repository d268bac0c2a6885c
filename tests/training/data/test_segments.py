"""Random segments: from the right place, of the right length, and no more read than needed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from model.audio import AudioError
from training.data.segments import read_segment

RATE = 8_000


def ramp(path: Path, frames: int, rate: int = RATE, **options: str) -> Path:
    """A recording whose samples say where they are."""
    soundfile.write(path, np.linspace(0, 0.9, frames), rate, subtype=options.get("subtype", "PCM_24"))
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff"])
def test_a_segment_is_a_piece_of_the_recording(tmp_path: Path, suffix: str) -> None:
    path = ramp(tmp_path / f"a.{suffix}", 10 * RATE)
    starts = set()
    for seed in range(8):
        segment = read_segment(path, RATE, 2 * RATE, "repeat", np.random.default_rng(seed))
        assert segment.shape == (2 * RATE,)
        np.testing.assert_allclose(np.diff(segment), 0.9 / (10 * RATE - 1), atol=1e-6)
        starts.add(round(float(segment[0]), 3))
    assert len(starts) > 4
    assert max(starts) <= 0.721


def test_the_same_seed_gives_the_same_segment(tmp_path: Path) -> None:
    path = ramp(tmp_path / "a.wav", 10 * RATE)
    first, second = (read_segment(path, RATE, RATE, "zero", np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_no_more_is_decoded_than_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ramp(tmp_path / "a.wav", 600 * RATE)
    asked = []
    plain = soundfile.SoundFile.read

    def counted(sound: soundfile.SoundFile, frames: int, **options: Any) -> Any:
        asked.append(frames)
        return plain(sound, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    read_segment(path, RATE, 5 * RATE, "repeat", np.random.default_rng(0))
    assert asked == [5 * RATE]


def test_a_short_recording_is_padded_as_the_front_end_says(tmp_path: Path) -> None:
    path = ramp(tmp_path / "a.wav", 1_000)
    rng = np.random.default_rng(0)
    repeated, silent = (read_segment(path, RATE, 2_500, padding, rng) for padding in ("repeat", "zero"))
    np.testing.assert_array_equal(repeated[:1_000], repeated[1_000:2_000])
    assert not silent[1_000:].any()


def test_channels_are_averaged_and_rates_converted(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * 22_050) / 22_050)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, -tone, tone], axis=1), 22_050)
    segment = read_segment(tmp_path / "a.wav", RATE, RATE, "repeat", np.random.default_rng(0))
    assert segment.shape == (RATE,)
    spectrum = np.abs(np.fft.rfft(segment * np.hanning(RATE)))
    assert int(spectrum.argmax()) == 440
    assert float(np.abs(segment[100:-100]).max()) == pytest.approx(0.5 / 3, rel=0.02)


def test_bytes_are_read_as_a_file_is(tmp_path: Path) -> None:
    path = ramp(tmp_path / "a.flac", 4 * RATE)
    from_file, from_bytes = (
        read_segment(source, RATE, RATE, "repeat", np.random.default_rng(1)) for source in (path, path.read_bytes())
    )
    np.testing.assert_array_equal(from_file, from_bytes)


def test_what_libsndfile_does_not_read_is_decoded_whole() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 32_000), np.float32) + 0.1, format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    assert read_segment(buffer.getvalue(), RATE, RATE, "repeat", np.random.default_rng(0)).shape == (RATE,)


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVE", b"not audio at all"])
def test_a_broken_recording_is_an_audio_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError):
        read_segment(tmp_path / "a.wav", RATE, RATE, "repeat", np.random.default_rng(0))


def test_a_nan_is_an_audio_error(tmp_path: Path) -> None:
    samples = np.zeros(RATE, np.float32)
    samples[5] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        read_segment(tmp_path / "a.wav", RATE, RATE, "repeat", np.random.default_rng(0))


def test_a_file_that_is_gone_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        read_segment(tmp_path / "a.wav", RATE, RATE, "repeat", np.random.default_rng(0))
