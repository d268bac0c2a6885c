"""Recordings to read, written on the spot in every format that is promised."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from model.audio import Samples

RATE = 44_100
Pcm = npt.NDArray[np.int16]


def tone(seconds: float, rate: int = RATE, channels: int = 1) -> Samples:
    """A 440 Hz sine [n, channels] of amplitude 0.4 in the first channel, a little softer in every next one."""
    sine = 0.4 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.stack([sine * 0.9**channel for channel in range(channels)], axis=1).astype(np.float32)


def sndfile(
    samples: Samples | Pcm, rate: int, kind: str, subtype: str | None = None, endian: str | None = None
) -> bytes:
    """Samples [n] or [n, channels], written by libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype, endian=endian)
    return file.getvalue()


BIT_RATES = {"wmav1": 64_000, "wmav2": 64_000, "g723_1": 6_300}
"""Of the encoders that need one."""


def ffmpeg(samples: Samples | Pcm, rate: int, kind: str, codec: str) -> bytes:
    """Samples [n, 1, 2 or 8], written by FFmpeg."""
    floats = samples.astype(np.float32) / np.float32(32768 if samples.dtype == np.int16 else 1)
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[samples.shape[1]]
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        if codec in BIT_RATES:
            stream.bit_rate = BIT_RATES[codec]
        formats = [each.name for each in stream.codec_context.codec.audio_formats or ()]
        wanted = next((name for name in formats if name.startswith("s16")), formats[0] if formats else "s16")
        stream.codec_context.format = wanted
        frame = av.AudioFrame.from_ndarray(floats.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(wanted, layout, rate, frame_size=size)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))
    return file.getvalue()


def wav_header(data_bytes: int, rate: int = RATE, channels: int = 1) -> bytes:
    """The 44 bytes in front of 16-bit PCM."""
    head = struct.pack("<4sI4s4sIHHII", b"RIFF", 36 + data_bytes, b"WAVE", b"fmt ", 16, 1, channels, rate, 0)
    return head + struct.pack("<HH4sI", 2 * channels, 16, b"data", data_bytes)


def mp3_in_wav(mp3: bytes) -> bytes:
    """An mp3 stream under a wav header, codec 0x55."""
    head = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 16_000, 1, 0, 12, 1, 2, 417, 1, 1393)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(mp3)) + mp3
    return b"RIFF" + struct.pack("<I", len(body)) + body


def dsf(samples: Samples | Pcm, rate: int) -> bytes:
    """Samples [n, channels] as DSD in Sony's DSF: one bit at 64 times `rate`, by a first-order modulator.

    https://dsd-guide.com/sites/default/files/white-papers/DSFFileFormatSpec_E.pdf
    """
    floats = np.repeat(samples.astype(np.float64), 64, axis=0)
    levels = np.floor(np.cumsum((floats + 1) / 2, axis=0))
    bits = np.diff(levels, axis=0, prepend=0).astype(np.uint8)
    packed = np.packbits(bits, axis=0, bitorder="little")
    block = 4096
    padded = np.pad(packed, ((0, -len(packed) % block), (0, 0)))
    data = padded.reshape(-1, block, samples.shape[1]).transpose(0, 2, 1).tobytes()
    channels = samples.shape[1]
    layout = struct.pack("<4sQIIIIIIQII", b"fmt ", 52, 1, 0, channels, channels, 64 * rate, 1, len(bits), block, 0)
    body = layout + struct.pack("<4sQ", b"data", 12 + len(data)) + data
    return struct.pack("<4sQQQ", b"DSD ", 28, 28 + len(body), 0) + body


# Every format that is promised.
FORMATS: dict[str, Callable[[Samples | Pcm, int], bytes]] = {
    "wav-8": lambda x, rate: sndfile(x, rate, "WAV", "PCM_U8"),
    "wav-16": lambda x, rate: sndfile(x, rate, "WAV", "PCM_16"),
    "wav-24": lambda x, rate: sndfile(x, rate, "WAV", "PCM_24"),
    "wav-32": lambda x, rate: sndfile(x, rate, "WAV", "PCM_32"),
    "wav-float": lambda x, rate: sndfile(x, rate, "WAV", "FLOAT"),
    "wav-double": lambda x, rate: sndfile(x, rate, "WAV", "DOUBLE"),
    "wav-extensible": lambda x, rate: sndfile(x, rate, "WAVEX", "PCM_16"),
    "wav-mp3": lambda x, rate: mp3_in_wav(sndfile(x, rate, "MP3")),
    "rf64": lambda x, rate: sndfile(x, rate, "RF64", "PCM_16"),
    "w64": lambda x, rate: sndfile(x, rate, "W64", "PCM_16"),
    "flac": lambda x, rate: sndfile(x, rate, "FLAC"),
    "ogg": lambda x, rate: sndfile(x, rate, "OGG", "VORBIS"),
    "opus": lambda x, rate: sndfile(x, rate, "OGG", "OPUS"),
    "mp3": lambda x, rate: sndfile(x, rate, "MP3"),
    "aiff": lambda x, rate: sndfile(x, rate, "AIFF"),
    "au": lambda x, rate: sndfile(x, rate, "AU"),
    "m4a": lambda x, rate: ffmpeg(x, rate, "ipod", "aac"),
    "m4a-alac": lambda x, rate: ffmpeg(x, rate, "ipod", "alac"),
    "mp4": lambda x, rate: ffmpeg(x, rate, "mp4", "aac"),
    "aac": lambda x, rate: ffmpeg(x, rate, "adts", "aac"),
    "webm": lambda x, rate: ffmpeg(x, rate, "webm", "libopus"),
    "mkv": lambda x, rate: ffmpeg(x, rate, "matroska", "flac"),
    "mkv-pcm": lambda x, rate: ffmpeg(x, rate, "matroska", "pcm_s16le"),
    "amr": lambda x, rate: ffmpeg(x, rate, "amr", "libopencore_amrnb"),
    "wav-big-endian": lambda x, rate: sndfile(x, rate, "WAV", "PCM_16", "BIG"),
    "wav-big-endian-float": lambda x, rate: sndfile(x, rate, "WAV", "FLOAT", "BIG"),
    "wav-alaw": lambda x, rate: sndfile(x, rate, "WAV", "ALAW"),
    "wav-mulaw": lambda x, rate: sndfile(x, rate, "WAV", "ULAW"),
    "wav-gsm": lambda x, rate: sndfile(x, rate, "WAV", "GSM610"),
    "wav-ms-adpcm": lambda x, rate: ffmpeg(x, rate, "wav", "adpcm_ms"),
    "wav-ima-adpcm": lambda x, rate: ffmpeg(x, rate, "wav", "adpcm_ima_wav"),
    "wav-yamaha-adpcm": lambda x, rate: ffmpeg(x, rate, "wav", "adpcm_yamaha"),
    "wav-g722": lambda x, rate: ffmpeg(x, rate, "wav", "g722"),
    "wav-g726": lambda x, rate: ffmpeg(x, rate, "wav", "g726"),
    "wav-g723.1": lambda x, rate: ffmpeg(x, rate, "wav", "g723_1"),
    "wav-wma": lambda x, rate: ffmpeg(x, rate, "wav", "wmav2"),
    "wav-ac3": lambda x, rate: ffmpeg(x, rate, "wav", "ac3"),
    "aifc-little-endian": lambda x, rate: sndfile(x, rate, "AIFF", "PCM_16", "LITTLE"),
    "aifc-24": lambda x, rate: sndfile(x, rate, "AIFF", "PCM_24"),
    "aifc-float": lambda x, rate: sndfile(x, rate, "AIFF", "FLOAT"),
    "aifc-double": lambda x, rate: sndfile(x, rate, "AIFF", "DOUBLE"),
    "aifc-mulaw": lambda x, rate: sndfile(x, rate, "AIFF", "ULAW"),
    "aifc-ima4": lambda x, rate: ffmpeg(x, rate, "aiff", "adpcm_ima_qt"),
    "au-24": lambda x, rate: sndfile(x, rate, "AU", "PCM_24"),
    "au-little-endian": lambda x, rate: sndfile(x, rate, "AU", "PCM_16", "LITTLE"),
    "au-float": lambda x, rate: sndfile(x, rate, "AU", "FLOAT"),
    "au-mulaw": lambda x, rate: sndfile(x, rate, "AU", "ULAW"),
    "au-g721": lambda x, rate: sndfile(x, rate, "AU", "G721_32"),
    "caf": lambda x, rate: sndfile(x, rate, "CAF", "PCM_16"),
    "caf-little-endian": lambda x, rate: sndfile(x, rate, "CAF", "PCM_16", "LITTLE"),
    "caf-float": lambda x, rate: sndfile(x, rate, "CAF", "FLOAT"),
    "caf-alac": lambda x, rate: sndfile(x, rate, "CAF", "ALAC_16"),
    "caf-ima4": lambda x, rate: ffmpeg(x, rate, "caf", "adpcm_ima_qt"),
    "sphere": lambda x, rate: sndfile(x, rate, "NIST", "PCM_16"),
    "sphere-mulaw": lambda x, rate: sndfile(x, rate, "NIST", "ULAW"),
    "ircam": lambda x, rate: sndfile(x, rate, "IRCAM", "PCM_16"),
    "voc": lambda x, rate: sndfile(x, rate, "VOC", "PCM_16"),
    "ogg-flac": lambda x, rate: ffmpeg(x, rate, "ogg", "flac"),
    "mp2": lambda x, rate: ffmpeg(x, rate, "mp2", "mp2"),
    "mov-ima4": lambda x, rate: ffmpeg(x, rate, "mov", "adpcm_ima_qt"),
    "mov-big-endian": lambda x, rate: ffmpeg(x, rate, "mov", "pcm_s16be"),
    "mp4-opus": lambda x, rate: ffmpeg(x, rate, "mp4", "libopus"),
    "mp4-flac": lambda x, rate: ffmpeg(x, rate, "mp4", "flac"),
    "mp4-ac3": lambda x, rate: ffmpeg(x, rate, "mp4", "ac3"),
    "mkv-eac3": lambda x, rate: ffmpeg(x, rate, "matroska", "eac3"),
    "ac3": lambda x, rate: ffmpeg(x, rate, "ac3", "ac3"),
    "eac3": lambda x, rate: ffmpeg(x, rate, "eac3", "eac3"),
    "aac-latm": lambda x, rate: ffmpeg(x, rate, "latm", "aac"),
    "ts": lambda x, rate: ffmpeg(x, rate, "mpegts", "aac"),
    "ts-mp2": lambda x, rate: ffmpeg(x, rate, "mpegts", "mp2"),
    "ts-ac3": lambda x, rate: ffmpeg(x, rate, "mpegts", "ac3"),
    "mpeg": lambda x, rate: ffmpeg(x, rate, "mpeg", "mp2"),
    "avi": lambda x, rate: ffmpeg(x, rate, "avi", "libmp3lame"),
    "avi-pcm": lambda x, rate: ffmpeg(x, rate, "avi", "pcm_s16le"),
    "flv": lambda x, rate: ffmpeg(x, rate, "flv", "aac"),
    "flv-nellymoser": lambda x, rate: ffmpeg(x, rate, "flv", "nellymoser"),
    "flv-adpcm": lambda x, rate: ffmpeg(x, rate, "flv", "adpcm_swf"),
    "wma": lambda x, rate: ffmpeg(x, rate, "asf", "wmav2"),
    "wma-1": lambda x, rate: ffmpeg(x, rate, "asf", "wmav1"),
    "rm": lambda x, rate: ffmpeg(x, rate, "rm", "real_144"),
    "wavpack": lambda x, rate: ffmpeg(x, rate, "wv", "wavpack"),
    "tta": lambda x, rate: ffmpeg(x, rate, "tta", "tta"),
}
RATES = {
    **dict.fromkeys(("opus", "webm", "mp4-opus"), 48_000),
    **dict.fromkeys(("amr", "wav-gsm", "wav-g726", "wav-g723.1", "au-g721", "rm", "sphere-mulaw"), 8_000),
    "wav-g722": 16_000,
}
CODECS = {"webm": "libopus", "mp4-opus": "libopus", "avi": "libmp3lame", "amr": "libopencore_amrnb"}


def encode(name: str, seconds: float = 1.0, channels: int = 1) -> bytes:
    if CODECS.get(name, "aac") not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {CODECS[name]} encoder")
    rate = RATES.get(name, RATE)
    return FORMATS[name](tone(seconds, rate, channels), rate)
