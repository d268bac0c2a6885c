"""Reading audio: what is read, how exactly, and how everything else is refused."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.audio import MAX_AMPLITUDE, AudioError, Limits, Waveform, load, read, resample
from tests.model.audio.clips import FORMATS, RATE, RATES, encode, ffmpeg, mp3_in_wav, sndfile, tone, wav_header

ROOT = Path(__file__).parents[3]
RECORDINGS = ROOT.parent / "shared/data/eval"


def refusal(source: bytes | bytearray | Path, limits: Limits | None = None) -> AudioError:
    """The error that `source` is answered with, in far less than a second of this process's own time."""
    began = time.process_time()
    with pytest.raises(AudioError) as caught:
        read(source, limits)
    assert time.process_time() - began < 1.0
    return caught.value


@pytest.fixture(scope="session")
def silent_flac() -> bytes:
    """Three hours of silence, 8 kHz, in some 50 kB."""
    file = io.BytesIO()
    block = np.zeros(8_000 * 60, np.int16)
    with soundfile.SoundFile(file, "w", 8_000, 1, format="FLAC", subtype="PCM_16") as sound:
        for _ in range(180):
            sound.write(block)
    return file.getvalue()


# What is read


@pytest.mark.parametrize("name", FORMATS)
def test_reads_every_format(name: str) -> None:
    waveform = read(encode(name))
    assert waveform.rate == RATES.get(name, RATE)
    assert waveform.samples.dtype == np.float32
    assert waveform.samples.ndim == 1
    assert waveform.duration_s == pytest.approx(1.0, abs=0.08)
    middle = waveform.samples[waveform.rate // 4 : waveform.rate // 2]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.2)
    assert np.argmax(np.abs(np.fft.rfft(middle))) == round(440 * len(middle) / waveform.rate)


@pytest.mark.parametrize("name", ["wav-16", "wav-float", "flac", "ogg", "mp3", "aiff", "m4a", "mkv", "mkv-pcm"])
def test_averages_the_channels(name: str) -> None:
    mono, stereo = read(encode(name)), read(encode(name, channels=2))
    assert stereo.rate == mono.rate
    middle = slice(RATE // 4, RATE // 2)
    np.testing.assert_allclose(stereo.samples[middle], mono.samples[middle] * 0.95, atol=0.02)


def test_stereo_equals_its_mono_mix() -> None:
    stereo = tone(0.5, channels=2)
    mix = read(sndfile(stereo, RATE, "WAV", "FLOAT"))
    np.testing.assert_array_equal(mix.samples, stereo.mean(axis=1))


def test_eight_channels_are_averaged() -> None:
    """Eight planes, as aac gives them, are one more than PyAV's `to_ndarray` can count: it ends the process."""
    channels = tone(0.5, channels=8)
    mean = channels.mean(axis=1)
    np.testing.assert_allclose(read(sndfile(channels, RATE, "WAV", "FLOAT")).samples, mean, atol=1e-7)
    np.testing.assert_allclose(read(ffmpeg(channels, RATE, "matroska", "pcm_f32le")).samples, mean, atol=1e-7)
    middle = slice(RATE // 8, RATE // 4)
    np.testing.assert_allclose(read(ffmpeg(channels, RATE, "ipod", "aac")).samples[middle], mean[middle], atol=0.05)


LOSSLESS = (
    *("flac", "aiff", "au", "rf64", "w64", "wav-extensible", "m4a-alac", "mkv", "mkv-pcm", "wav-big-endian", "wavpack"),
    *(
        "aifc-little-endian",
        "au-little-endian",
        "caf",
        "caf-little-endian",
        "caf-alac",
        "sphere",
        "ircam",
        "voc",
        "tta",
    ),
    *("ogg-flac", "mov-big-endian", "mp4-flac", "avi-pcm"),
)


@pytest.mark.parametrize("other", LOSSLESS)
def test_lossless_formats_agree_exactly(other: str) -> None:
    pcm = (tone(1.0) * 32767).astype(np.int16)
    expected = pcm[:, 0].astype(np.float32) / 32768
    for name in ("wav-16", other):
        np.testing.assert_array_equal(read(FORMATS[name](pcm, RATE)).samples, expected)


def test_every_bit_depth_is_on_the_same_scale() -> None:
    for name, step in [("wav-8", 1 / 128), ("wav-16", 1 / 32768), ("wav-24", 1e-6), ("wav-32", 1e-6)]:
        np.testing.assert_allclose(read(encode(name)).samples, tone(1.0)[:, 0], atol=step)


def test_reads_the_same_from_bytes_buffers_and_paths(tmp_path: Path) -> None:
    clip = encode("flac")
    path = tmp_path / "clip.bin"
    path.write_bytes(clip)
    wide = np.frombuffer(clip + bytes(-len(clip) % 8), np.int64)
    expected = read(clip).samples
    for source in (bytearray(clip), memoryview(clip), memoryview(b"__" + clip)[2:], memoryview(wide.data), path):
        np.testing.assert_array_equal(read(source).samples, expected)


@pytest.mark.parametrize("name", ["ogg", "mp3", "m4a"])
def test_is_deterministic(name: str) -> None:
    clip = encode(name)
    np.testing.assert_array_equal(read(clip).samples, read(clip).samples)


def test_agrees_with_soundfile_across_blocks() -> None:
    clip = encode("ogg", seconds=5.0)
    np.testing.assert_array_equal(read(clip).samples, soundfile.read(io.BytesIO(clip), dtype="float32")[0])


def test_one_sample_is_read() -> None:
    waveform = read(sndfile(np.array([0.5], np.float32), RATE, "WAV", "FLOAT"))
    np.testing.assert_array_equal(waveform.samples, [0.5])
    assert waveform.duration_s == 1 / RATE


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_digital_silence_is_read(kind: str) -> None:
    assert not read(sndfile(np.zeros(RATE, np.float32), RATE, kind)).samples.any()


def test_float_samples_beyond_full_scale_are_kept() -> None:
    loud = np.array([-40_000.0, -1.5, 1.5, 2.0**31], np.float32)
    np.testing.assert_array_equal(read(sndfile(loud, RATE, "WAV", "FLOAT")).samples, loud)


@pytest.mark.parametrize("name", ["ogg", "opus", "mp3", "flac", "wav-16", "aac", "webm", "mkv", "amr"])
def test_a_clip_cut_in_the_middle_gives_what_decodes(name: str) -> None:
    rate = RATES.get(name, RATE)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (6 * rate, 1)).astype(np.float32)
    clip = FORMATS[name](noise, rate)
    # An Ogg page, up to a second, is whole or lost.
    assert 1.9 < read(clip[: len(clip) // 2]).duration_s < 3.1


@pytest.mark.parametrize("name", ["mp3", "aac", "m4a"])
def test_damage_in_the_middle_costs_only_the_damaged_part(name: str) -> None:
    clip = bytearray(encode(name, seconds=4.0))
    middle = len(clip) // 2
    clip[middle : middle + 500] = np.random.default_rng(0).bytes(500)
    assert read(clip).duration_s == pytest.approx(4.0, abs=0.4)


def test_a_stream_that_changes_channels_on_the_way() -> None:
    clip = sndfile(tone(1.0), RATE, "MP3") + sndfile(tone(1.0, channels=2), RATE, "MP3")
    samples = read(clip).samples
    assert len(samples) / RATE == pytest.approx(2.0, abs=0.2)
    assert np.abs(samples[-RATE // 2 :]).max() == pytest.approx(0.4 * 0.95, rel=0.05)


def test_a_stream_that_changes_rate_on_the_way_is_brought_to_its_first() -> None:
    clip = ffmpeg(tone(1.0), RATE, "adts", "aac") + ffmpeg(tone(1.0, 22_050), 22_050, "adts", "aac")
    waveform = read(clip)
    assert waveform.rate == RATE
    assert waveform.duration_s == pytest.approx(2.0, abs=0.2)
    end = waveform.samples[-RATE // 2 : -RATE // 4]
    assert np.argmax(np.abs(np.fft.rfft(end))) == round(440 * len(end) / RATE)


def test_a_length_that_is_only_guessed_is_not_held_against_a_clip() -> None:
    """FFmpeg takes 80 s of aac with a silent start for 19 minutes."""
    quiet_start = np.concatenate([np.zeros((20 * RATE, 1), np.float32), tone(60.0)])
    assert read(ffmpeg(quiet_start, RATE, "adts", "aac")).duration_s == pytest.approx(80.0, abs=0.2)


def test_a_wav_of_unknown_length_is_read_to_its_end() -> None:
    pcm = (tone(1.0) * 32767).astype("<i2").tobytes()
    for claimed in (0, 0xFFFFFFFF, 1 << 31):
        header = bytearray(wav_header(0))
        header[40:44] = struct.pack("<I", claimed)
        assert read(header + pcm).duration_s == pytest.approx(1.0, abs=0.01)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings in {RECORDINGS}")
def test_reads_real_recordings() -> None:
    for folder in sorted(RECORDINGS.iterdir()):
        for path in sorted([*folder.rglob("*.ogg"), *folder.rglob("*.wav")])[:3]:
            samples = load(path, RATE)
            assert len(samples) > 0.02 * RATE, path
            assert 0 < np.abs(samples).max() < 2, path


# What is refused


def with_sample(value: float) -> bytes:
    samples = tone(0.5)
    samples[RATE // 4] = value
    return sndfile(samples, RATE, "WAV", "FLOAT")


def lying_flac() -> bytes:
    """A second of sound whose header claims 2^36 - 1 frames."""
    clip = bytearray(encode("flac"))
    clip[21] |= 0x0F
    clip[22:26] = b"\xff" * 4
    return bytes(clip)


def flac_without_frames() -> bytes:
    """The magic and STREAMINFO, marked as the last block, of unknown length."""
    clip = bytearray(encode("flac")[:42])
    clip[4] |= 0x80
    clip[21] &= 0xF0
    clip[22:26] = bytes(4)
    return bytes(clip)


def video() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    return file.getvalue()


BAD: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty": (lambda: b"", "empty", "0 bytes"),
    "text": (lambda: b"This is not a sound.\n" * 50, "unrecognised", "1050 bytes"),
    "random": (lambda: np.random.default_rng(1).bytes(1 << 20), "unrecognised", "1048576 bytes"),
    "zeros": (lambda: bytes(1 << 20), "unrecognised", "not audio"),
    "playlist": (
        lambda: b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "unrecognised",
        "not audio",
    ),
    "concat script": (lambda: b"ffconcat version 1.0\nfile '/etc/passwd'\n", "unrecognised", "not audio"),
    "wav header cut short": (lambda: encode("wav-16")[:30], "truncated_header", "begins as WAV"),
    "flac header cut short": (lambda: encode("flac")[:30], "truncated_header", "begins as FLAC"),
    "ogg header cut short": (lambda: encode("ogg")[:100], "truncated_header", "begins as Ogg"),
    "m4a cut before its index": (lambda: encode("m4a")[:-2_000], "truncated_header", "begins as MP4"),
    "wav without frames": (lambda: wav_header(0), "no_frames", "0 frames"),
    "flac without frames": (flac_without_frames, "no_frames", "0 frames"),
    "NaN": (lambda: with_sample(np.nan), "non_finite", "NaN"),
    "infinite": (lambda: with_sample(-np.inf), "non_finite", "infinite"),
    "absurdly loud": (lambda: with_sample(2 * MAX_AMPLITUDE), "non_finite", "above 1e+12"),
    "10 Hz": (lambda: sndfile(tone(1.0), 10, "WAV"), "rate", "10 Hz"),
    "2^31 - 1 Hz": (lambda: sndfile(tone(1.0), 2**31 - 1, "WAV"), "rate", "2147483647 Hz"),
    "9 channels": (lambda: sndfile(tone(0.1, channels=9), RATE, "WAV"), "channels", "9 channels"),
    "1,024 channels": (lambda: wav_header(2048 * 100, channels=1024) + bytes(204_800), "channels", "1024 channels"),
    "video without sound": (video, "no_audio_stream", "no audio stream"),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses_what_is_not_usable_audio(name: str) -> None:
    make, reason, words = BAD[name]
    error = refusal(make())
    assert (error.code, error.reason) == ("unsupported_audio", reason)
    assert words in str(error)


@pytest.mark.parametrize("name", ["empty", "text", "NaN", "1,024 channels"])
def test_refuses_files_as_it_refuses_bytes(name: str, tmp_path: Path) -> None:
    make, reason, _ = BAD[name]
    path = tmp_path / "clip.wav"
    path.write_bytes(make())
    assert refusal(path).reason == reason


def test_a_flac_that_claims_68_billion_frames_is_refused_from_its_header() -> None:
    error = refusal(lying_flac())
    assert (error.code, error.reason) == ("audio_too_long", "too_long")
    assert "1558264" in str(error)


def test_three_hours_of_silence_are_refused_from_their_header(silent_flac: bytes) -> None:
    began = time.process_time()
    error = refusal(silent_flac)
    assert time.process_time() - began < 0.05
    assert (error.code, error.reason) == ("audio_too_long", "too_long")
    assert "10800.0 s" in str(error)
    assert "600 s" in str(error)


def test_a_header_that_hides_three_hours_is_caught_while_reading(silent_flac: bytes) -> None:
    """A FLAC header may leave its length unknown: zero frames."""
    clip = bytearray(silent_flac)
    clip[21] &= 0xF0
    clip[22:26] = bytes(4)
    error = refusal(clip, Limits(max_seconds=60))
    assert (error.code, error.reason) == ("audio_too_long", "too_long")


@pytest.mark.parametrize("name", ["wav-16", "flac", "ogg", "mp3", "m4a", "webm", "mkv", "aac", "amr"])
def test_the_limit_of_length_holds_for_every_format(name: str) -> None:
    clip = encode(name, seconds=2.0)
    assert read(clip, Limits(max_seconds=2.1)).duration_s == pytest.approx(2.0, abs=0.06)
    error = refusal(clip, Limits(max_seconds=1.5))
    assert (error.code, error.reason) == ("audio_too_long", "too_long")
    assert "the limit is 1.5 s" in str(error)


def test_exactly_the_limit_is_read() -> None:
    clip = encode("wav-16", seconds=2.0)
    assert read(clip, Limits(max_seconds=2.0)).duration_s == 2.0
    assert read(clip, Limits(max_decoded_bytes=2 * RATE * 4)).duration_s == 2.0


@pytest.mark.parametrize("name", ["wav-16", "flac", "m4a", "aac"])
def test_decoded_bytes_count_every_channel(name: str) -> None:
    limits = Limits(max_decoded_bytes=6 * RATE)
    assert read(encode(name), limits).rate == RATE
    error = refusal(encode(name, channels=2), limits)
    assert (error.code, error.reason) == ("audio_too_long", "too_large")
    assert "MiB" in str(error)


def test_a_refusal_takes_no_memory(silent_flac: bytes) -> None:
    unknown_length = bytearray(silent_flac)
    unknown_length[21] &= 0xF0
    unknown_length[22:26] = bytes(4)
    for clip in (lying_flac(), silent_flac, bytes(unknown_length), *(make() for make, _, _ in BAD.values())):
        tracemalloc.start()
        try:
            with pytest.raises(AudioError):
                read(clip)
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()


def test_reading_holds_the_clip_once() -> None:
    clip = sndfile(np.zeros((60 * RATE, 2), np.int16), RATE, "WAV", "PCM_16")
    tracemalloc.start()
    try:
        samples = read(clip).samples
        assert tracemalloc.get_traced_memory()[1] < 1.5 * samples.nbytes
    finally:
        tracemalloc.stop()


def test_more_channels_than_can_be_read_are_no_limit() -> None:
    with pytest.raises(ValueError, match="max_channels"):
        Limits(max_channels=9)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing.wav")


def test_an_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(refusal(b"")))  # noqa: S301
    assert isinstance(error, AudioError)
    assert (error.code, error.reason, str(error)) == ("unsupported_audio", "empty", "The clip is empty: 0 bytes.")


def test_decoders_print_nothing(capfd: pytest.CaptureFixture[str], silent_flac: bytes) -> None:
    damaged = encode("mp3")[1000:-1000] + bytes(3_000)
    for clip in (lying_flac(), silent_flac, damaged, mp3_in_wav(damaged), *(make() for make, _, _ in BAD.values())):
        with contextlib.suppress(AudioError):
            read(clip)
    assert capfd.readouterr() == ("", "")


def test_a_decode_process_loads_no_torch() -> None:
    script = "import sys, model.audio, model.windows; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


# Whatever comes


SEEDS = ("wav-16", "wav-float", "flac", "ogg", "opus", "mp3", "aiff", "au", "m4a", "aac", "mkv")


@pytest.fixture(scope="module")
def seeds() -> list[bytes]:
    return [encode(name, seconds=0.3) for name in SEEDS]


def read_or_refuse(clip: bytes) -> None:
    with contextlib.suppress(AudioError):
        waveform = read(clip)
        assert isinstance(waveform, Waveform)
        assert len(waveform.samples) > 0
        assert np.isfinite(waveform.samples).all()


@settings(max_examples=150, deadline=1_000)
@given(
    st.binary(max_size=4_000), st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"FORM", b".snd", b"ID3", b"\xff\xfb"])
)
def test_random_bytes_raise_only_audio_errors(clip: bytes, magic: bytes) -> None:
    read_or_refuse(magic + clip)


@settings(max_examples=250, deadline=1_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8)), max_size=6),
    end=st.floats(0.1, 1),
)
def test_mutated_clips_raise_only_audio_errors(
    seeds: list[bytes], seed: int, edits: list[tuple[float, bytes]], end: float
) -> None:
    clip = bytearray(seeds[seed])
    for position, data in edits:
        # The square puts most of the damage into the header.
        at = int(position**2 * len(clip))
        clip[at : at + len(data)] = data
    read_or_refuse(bytes(clip[: int(end * len(clip))]))


# Resampling


@pytest.mark.parametrize(("rate", "target"), [(RATE, 16_000), (16_000, RATE), (48_000, 32_000), (8_000, 384_000)])
@pytest.mark.parametrize("length", [1, 2, 3, 1_000, 12_345])
def test_resampling_gives_the_rounded_length(length: int, rate: int, target: int) -> None:
    out = resample(np.ones(length, np.float32), rate, target)
    assert out.dtype == np.float32
    assert len(out) == max(1, round(length * target / rate))
    assert np.isfinite(out).all()


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    samples = tone(0.1)[:, 0]
    assert resample(samples, RATE, RATE) is samples


def test_resampling_keeps_the_tone() -> None:
    samples = resample(tone(1.0)[:, 0], RATE, 32_000)
    np.testing.assert_allclose(samples[500:-500], tone(1.0, 32_000)[500:-500, 0], atol=1e-3)


def test_load_reads_and_resamples() -> None:
    clip = encode("flac", seconds=2.0)
    samples = load(clip, 32_000)
    assert len(samples) == 64_000
    np.testing.assert_array_equal(samples, resample(read(clip).samples, RATE, 32_000))
