"""Files as people have them: chains, tags, several tracks, inverted channels, wrong headers. Each is read correctly."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition

from model.audio import AudioError, Limits, Samples, load, read
from model.audio import ffmpeg as ffmpeg_reader
from tests.model.audio.clips import RATE, dsf, encode, ffmpeg, sndfile, tone, wav_header

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def cases(shared: Path) -> Path:
    folder = shared / "cases"
    if not folder.is_dir():
        pytest.skip(f"there are no small inputs in {folder}")
    return folder


def pitch(samples: Samples, rate: int) -> float:
    """The loudest frequency, in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


def sine(hertz: float, seconds: float, rate: int = RATE) -> Samples:
    """[n, 1], of amplitude 0.4."""
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)[:, None]


def likeness(one: Samples, other: Samples) -> float:
    """The highest correlation of two recordings over their lags of up to 0.1 s at 44.1 kHz; 1 for equal ones."""
    size = max(len(one), len(other))
    first, second = np.pad(one, (0, size - len(one) + 4410)), np.pad(other, (0, size - len(other) + 4410))
    correlation = np.fft.irfft(np.fft.rfft(first) * np.fft.rfft(second).conj())
    return float(np.abs(correlation).max() / (np.linalg.norm(first) * np.linalg.norm(second)))


# The inputs that went wrong


CROWS = (
    "rifx_crow.wav",
    "aac_crow.ts",
    "ac3_crow.ac3",
    "wavpack_crow.wv",
    "mp3_crow.avi",
    "default_track_is_second.mp4",
)


@pytest.mark.parametrize("name", CROWS)
def test_a_crow_is_a_crow_in_any_format(cases: Path, name: str) -> None:
    crow, heard = read(EXAMPLES / "crow.flac"), read(cases / name)
    assert heard.rate == crow.rate
    assert heard.duration_s == pytest.approx(crow.duration_s, abs=0.06)
    assert likeness(heard.samples, crow.samples) > 0.97


@pytest.mark.parametrize("name", ["g722_crow.wav", "id3_then_riff.wav", "phase_inverted_stereo.wav"])
def test_a_crow_is_a_crow_at_any_rate(cases: Path, name: str) -> None:
    crow = load(EXAMPLES / "crow.flac", 8_000)
    heard = load(cases / name, 8_000)
    assert len(heard) == pytest.approx(len(crow), abs=10)
    assert likeness(heard, crow) > 0.95


def test_the_chain_of_speech_and_drums_is_heard_whole(cases: Path) -> None:
    assert read(cases / "chained_speech_drums.ogg").duration_s == pytest.approx(2.5, abs=0.01)


# Chained Ogg

LINKS: dict[str, Callable[[Samples, int], bytes]] = {
    "vorbis": lambda x, rate: sndfile(x, rate, "OGG", "VORBIS"),
    "opus": lambda x, rate: sndfile(x, rate, "OGG", "OPUS"),
    "flac": lambda x, rate: ffmpeg(x, rate, "ogg", "flac"),
}


@pytest.mark.parametrize("first", LINKS)
@pytest.mark.parametrize("second", LINKS)
def test_every_link_of_a_chain_is_read(first: str, second: str) -> None:
    """The codec, the rate and the number of channels may change from link to link."""
    stereo = np.repeat(sine(880, 1.5, 24_000), 2, axis=1)
    clip = LINKS[first](sine(440, 1.0, 48_000), 48_000) + LINKS[second](stereo, 24_000)
    waveform = read(clip)
    assert waveform.rate == 48_000
    assert waveform.duration_s == pytest.approx(2.5, abs=0.03)
    assert pitch(waveform.samples[10_000:40_000], 48_000) == pytest.approx(440, abs=3)
    assert pitch(waveform.samples[60_000:110_000], 48_000) == pytest.approx(880, abs=3)


def test_a_chain_counts_as_one_clip() -> None:
    clip = sndfile(sine(440, 1.0), RATE, "OGG", "VORBIS") * 3
    assert read(clip, Limits(max_seconds=3.1)).duration_s == pytest.approx(3.0, abs=0.01)
    with pytest.raises(AudioError, match=r"the limit is 2\.5 s") as caught:
        read(clip, Limits(max_seconds=2.5))
    assert caught.value.code == "audio_too_long"


def test_a_damaged_link_costs_itself() -> None:
    link = sndfile(sine(440, 1.0), RATE, "OGG", "VORBIS")
    damaged = link[:200] + bytes(len(link) - 200)
    assert read(link + damaged + link).duration_s == pytest.approx(2.0, abs=0.05)


def test_a_chain_of_very_many_links_is_refused() -> None:
    link = sndfile(sine(440, 0.01, 8_000), 8_000, "OGG", "VORBIS")
    with pytest.raises(AudioError, match="more than 1000 Ogg streams"):
        read(link * 1_001)


# The track that a player would choose


def two_tracks(kind: str, codec: str, default: int | None) -> bytes:
    """440 Hz in the first track, 880 Hz in the second, one flagged as default."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        streams = []
        for number in range(2):
            stream = container.add_stream(codec, rate=RATE, layout="mono")
            assert isinstance(stream, av.AudioStream)
            stream.disposition = Disposition.default if number == default else Disposition(0)
            streams.append(stream)
        for number, stream in enumerate(streams):
            frame = av.AudioFrame.from_ndarray(sine(440 * (number + 1), 1.0).T.copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            resampler = av.AudioResampler("fltp", "mono", RATE, frame_size=stream.codec_context.frame_size or 1024)
            for part in [*resampler.resample(frame), *resampler.resample(None), None]:
                container.mux(stream.encode(part))
    return file.getvalue()


@pytest.mark.parametrize(("default", "hertz"), [(0, 440), (1, 880), (None, 440)])
@pytest.mark.parametrize("kind", ["mp4", "mov", "matroska"])
def test_the_default_track_is_read_and_the_first_without_one(kind: str, default: int | None, hertz: float) -> None:
    waveform = read(two_tracks(kind, "aac", default))
    assert pitch(waveform.samples[8_000:32_000], RATE) == pytest.approx(hertz, abs=3)


# Channels that cancel out


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@pytest.mark.parametrize("gain", [-1.0, -0.9])
def test_an_inverted_channel_does_not_silence_a_clip(kind: str, gain: float) -> None:
    left = sine(440, 1.0)[:, 0] * np.linspace(0.3, 1, RATE, dtype=np.float32)
    waveform = read(sndfile(np.stack([left, gain * left], axis=1), RATE, kind))
    middle = slice(RATE // 4, RATE // 2)
    rms = float(np.sqrt(np.mean(waveform.samples[middle] ** 2)))
    assert rms == pytest.approx(float(np.sqrt(np.mean(left[middle] ** 2))), rel=0.05)


def test_the_louder_channel_is_taken_whole() -> None:
    right = sine(440, 1.0)[:, 0]
    stereo = np.stack([np.float32(-0.8) * right, right], axis=1)
    np.testing.assert_array_equal(read(sndfile(stereo, RATE, "WAV", "FLOAT")).samples, right)


@pytest.mark.parametrize("container", ["matroska", "mov"])
def test_an_inverted_channel_in_a_film(container: str) -> None:
    left = sine(440, 1.0)
    waveform = read(ffmpeg(np.concatenate([left, -left], axis=1), RATE, container, "pcm_s16le"))
    np.testing.assert_allclose(waveform.samples, left[:, 0], atol=1e-4)


@pytest.mark.parametrize(
    "right",
    [
        np.zeros(RATE),
        np.random.default_rng(1).standard_normal(RATE) * 0.1,
        np.random.default_rng(0).standard_normal(RATE) * -0.02,
    ],
)
def test_channels_that_do_not_cancel_out_are_averaged(right: np.ndarray) -> None:
    left = np.random.default_rng(0).standard_normal(RATE) * 0.1
    stereo = np.stack([left, right], axis=1).astype(np.float32)
    np.testing.assert_array_equal(read(sndfile(stereo, RATE, "WAV", "FLOAT")).samples, stereo.mean(axis=1))


def test_an_inverted_clip_is_counted_once() -> None:
    left = sine(440, 2.0)[:, 0]
    clip = sndfile(np.stack([left, -left], axis=1), RATE, "FLAC")
    assert read(clip, Limits(max_seconds=2.0)).duration_s == 2.0


# Tags


def syncsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


ID3V2 = b"ID3\x04\0\0" + syncsafe(2_000) + b"TIT2\0\0\0\5\0\0\3crow" + bytes(1_985)
ID3V1 = b"TAG" + b"crow".ljust(125, b"\0")
COVER = np.random.default_rng(3).bytes(5_000).replace(b"APETAGEX", b"") + b"\xff\xfb\x90\x00" * 50
APE_ITEM = struct.pack("<II", len(COVER), 2) + b"Cover Art (Front)\0" + COVER
APE_SIZE = len(APE_ITEM) + 32
APEV2 = (
    struct.pack("<8sIIII8x", b"APETAGEX", 2_000, APE_SIZE, 1, 0xA0000000)
    + APE_ITEM
    + struct.pack("<8sIIII8x", b"APETAGEX", 2_000, APE_SIZE, 1, 0x80000000)
)
LYRICS = b"LYRICSBEGIN" + b"LYR00100" + b"\xff\xfb\x90\x00" * 25
LYRICS3 = LYRICS + b"%06d" % len(LYRICS) + b"LYRICS200"
TAGS = {
    "id3v2": (ID3V2, b""),
    "two id3v2": (ID3V2 * 2, b""),
    "id3v1": (b"", ID3V1),
    "ape": (b"", APEV2),
    "ape, id3v1": (b"", APEV2 + ID3V1),
    "lyrics3, id3v1": (b"", LYRICS3 + ID3V1),
    "everything": (ID3V2, APEV2 + LYRICS3 + ID3V1),
}


@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("name", ["wav-16", "wav-24", "flac", "ogg", "aiff", "mp3", "aac", "ac3", "wavpack", "tta"])
def test_tags_in_front_and_behind_change_nothing(name: str, tags: str) -> None:
    before, behind = TAGS[tags]
    clip = encode(name)
    tagged, plain = read(before + clip + behind), read(clip)
    assert tagged.rate == plain.rate
    np.testing.assert_array_equal(tagged.samples, plain.samples)


# Garbage


@pytest.mark.parametrize("junk", [bytes(1_000), b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n\r\n", b"\n"])
@pytest.mark.parametrize("name", ["wav-16", "wav-24", "flac", "ogg", "opus", "m4a", "mkv", "mp3", "caf", "aiff"])
def test_foreign_bytes_in_front_are_passed_over(name: str, junk: bytes) -> None:
    """An MP3 loses what its first frame says of the encoder's delay, 0.05 s."""
    clip = encode(name)
    assert read(junk + clip).duration_s == pytest.approx(read(clip).duration_s, abs=0.08)


@pytest.mark.parametrize("name", ["wav-16", "wav-24", "flac", "ogg", "m4a", "mp3", "aac", "mkv", "aiff", "caf"])
def test_foreign_bytes_behind_are_no_sound(name: str) -> None:
    clip = encode(name)
    assert read(clip + b"\r\n--boundary--\r\n" * 20).duration_s == pytest.approx(read(clip).duration_s, abs=0.06)


# Headers that lie


def mp3(seconds: float, quiet_start: float = 0.0) -> bytes:
    """VBR MP3 as LAME writes it, its first frame being a Xing header."""
    quiet = np.zeros((round(quiet_start * RATE), 1), np.float32)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * RATE), 1)).astype(np.float32)
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, 1, format="MP3", compression_level=0.3, bitrate_mode="VARIABLE") as sound:
        sound.write(np.concatenate([quiet, noise]))
    return file.getvalue()


def xing(clip: bytes | bytearray) -> int:
    """The position of the Xing header."""
    return next(at for at in (clip.find(b"Xing"), clip.find(b"Info")) if 0 <= at < 4_000)


def without_xing(clip: bytes) -> bytes:
    """The same from its second frame on, which is at the next sync word of the same kind."""
    return clip[clip.index(clip[:2], 36) :]


@pytest.mark.parametrize("frames", [1, 1_000_000, 0xFFFFFFFF])
def test_an_mp3_lasts_as_long_as_it_decodes_whatever_its_xing_header_says(frames: int) -> None:
    clip = bytearray(mp3(4.0))
    at = xing(clip)
    assert clip[at + 7] & 1, "the header counts frames"
    clip[at + 8 : at + 12] = struct.pack(">I", frames)
    assert read(bytes(clip)).duration_s == pytest.approx(4.0, abs=0.1)


def test_an_mp3_of_variable_rate_without_xing_is_counted() -> None:
    """124 s with a quiet start, which a guess from the first frames takes for more than ten minutes."""
    clip = without_xing(mp3(64.0, quiet_start=60.0))
    assert read(clip).duration_s == pytest.approx(124.0, abs=0.1)


def test_an_mp3_that_hides_its_length_is_stopped_at_the_limit() -> None:
    clip = bytearray(mp3(4.0))
    at = xing(clip)
    clip[at + 8 : at + 12] = struct.pack(">I", 1)
    with pytest.raises(AudioError, match="the limit is 2 s") as caught:
        read(bytes(clip), Limits(max_seconds=2))
    assert caught.value.code == "audio_too_long"


def test_the_length_of_a_fragment_is_its_own() -> None:
    """The header of an MP4 that was cut from a film still states the film's length."""
    clip = bytearray(encode("m4a", seconds=2.0))
    at = clip.index(b"mvhd") + 4 + 16
    clip[at : at + 4] = struct.pack(">I", 10**9)
    at = clip.index(b"mdhd") + 4 + 16
    clip[at : at + 4] = struct.pack(">I", 10**9)
    assert read(bytes(clip)).duration_s == pytest.approx(2.0, abs=0.06)


def test_a_recorded_broadcast_lasts_from_its_first_page() -> None:
    """Ogg pages count samples from the start of the stream, not of the recording."""
    clip = bytearray(encode("ogg", seconds=2.0))
    at = clip.rindex(b"OggS")
    granule = struct.unpack_from("<q", clip, at + 6)[0]
    struct.pack_into("<q", clip, at + 6, granule + 3_600 * RATE)
    struct.pack_into("<I", clip, at + 22, page_checksum(bytes(clip[at:])))
    assert read(bytes(clip)).duration_s == pytest.approx(2.0, abs=0.1)


def page_checksum(page: bytes) -> int:
    """RFC 3533, section 6: CRC-32 of polynomial 0x04c11db7, without reflection, its own field being zero."""
    register = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        register ^= byte << 24
        for _ in range(8):
            register = register << 1 ^ (0x104C11DB7 if register & 1 << 31 else 0)
    return register


@pytest.mark.parametrize("claimed", [0, 2 * RATE, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
def test_a_wav_is_read_whatever_its_riff_header_says(riff: int, claimed: int) -> None:
    """A recorder that was switched off leaves the sizes it began with."""
    pcm = (tone(1.0) * 32767).astype("<i2").tobytes()
    header = bytearray(wav_header(len(pcm)))
    header[4:8] = struct.pack("<I", riff)
    header[40:44] = struct.pack("<I", claimed)
    assert read(bytes(header) + pcm).duration_s == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("channels", [3, 5, 6, 7])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_an_odd_number_of_channels_is_averaged(channels: int, subtype: str) -> None:
    samples = tone(0.2, channels=channels)
    for kind in ("WAV", "WAVEX", "FLAC", "AIFF", "CAF"):
        if kind == "FLAC" and subtype == "FLOAT":
            continue
        heard = read(sndfile(samples, RATE, kind, subtype)).samples
        np.testing.assert_allclose(heard, samples.mean(axis=1), atol=1e-4)


def test_dsd_is_read_at_an_eighth_of_its_bit_rate() -> None:
    waveform = read(dsf(tone(0.5, channels=2), RATE))
    assert waveform.rate == 8 * RATE
    assert waveform.duration_s == pytest.approx(0.5, abs=0.02)
    middle = waveform.samples[waveform.rate // 8 : waveform.rate // 4]
    assert pitch(middle, waveform.rate) == pytest.approx(440, abs=5)


# Refusals


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk", "a MIDI file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "an image"),
        (b"%PDF-1.7\n" + bytes(100), "a PDF document"),
        (b"PK\x03\x04" + bytes(100), "a compressed archive"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "a Git LFS pointer"),
        (b"#EXTM3U\nhttp://127.0.0.1/a.mp3\n", "a playlist"),
    ],
)
def test_what_is_no_audio_is_named_with_what_is_read(clip: bytes, words: str) -> None:
    with pytest.raises(AudioError, match=words) as caught:
        read(clip)
    assert "What is read: WAV, FLAC, Ogg" in str(caught.value)


def test_an_archive_is_refused_even_if_it_stores_a_recording_uncompressed() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr("tone.wav", sndfile(tone(0.5), RATE, "WAV"))
    with pytest.raises(AudioError, match="a compressed archive"):
        read(archive.getvalue())


def test_a_codec_that_is_not_read_is_named_with_its_container() -> None:
    clip = ffmpeg(tone(0.5), RATE, "mov", "pcm_s16le").replace(b"sowt", b"drms")
    with pytest.raises(AudioError, match="QuickTime / MOV with an unknown codec, which is not read") as caught:
        read(clip)
    assert "What is read" in str(caught.value)


# Confinement


def test_no_demuxer_that_is_run_opens_another_file() -> None:
    open_others = {"concat", "concatf", "dash", "hls", "image2", "imf", "rtp", "rtsp", "sap", "sdp", "vobsub", "lavfi"}
    assert not open_others & set(ffmpeg_reader.CONTAINERS.split(","))
    assert ffmpeg_reader.OPTIONS["protocol_whitelist"] == ""


def film_with_samples_in(path: Path) -> bytes:
    """QuickTime may refer to a file that holds the samples, by an alias record (type 2 is the path)."""
    clip = ffmpeg(tone(1.0), RATE, "mov", "pcm_s16le")
    name = str(path).encode()
    record = bytes(150) + struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2) + struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    start = clip.index(b"moov") - 4
    moov = bytearray(clip[start:])
    at = moov.index(b"dref") + 12
    old = struct.unpack_from(">I", moov, at)[0]
    moov[at : at + old] = entry
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        place = moov.index(box) - 4 if box != b"dinf" else moov.rindex(b"dinf") - 4
        struct.pack_into(">I", moov, place, struct.unpack_from(">I", moov, place)[0] + len(entry) - old)
    return clip[:36] + bytes(start - 36) + bytes(moov)


def test_a_film_whose_samples_lie_in_another_file_does_not_reach_them(tmp_path: Path) -> None:
    secret = tmp_path / "secret.pcm"
    secret.write_bytes((tone(2.0) * 32767).astype("<i2").tobytes())
    clip = film_with_samples_in(secret)
    with contextlib.suppress(AudioError):
        assert not read(clip).samples.any()
