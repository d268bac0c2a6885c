"""Formats recognised by the first bytes of a clip."""

from __future__ import annotations

import re
from typing import Final

TAKEN: Final = (
    "What is read: WAV, FLAC, Ogg, Opus, MP3, AAC, M4A, MP4, WebM, Matroska, AIFF, AU, CAF, AMR, WMA, AC-3, MPEG-TS, "
    "AVI and others that docs/limits.md lists."
)

MPEG_AUDIO: Final = "MPEG audio"
ADTS: Final = "AAC"
AC3: Final = "AC-3"
DTS: Final = "DTS"
FRAMES_ONLY: Final = frozenset({MPEG_AUDIO, ADTS, AC3, DTS})
"""Formats that are frames from the first byte to the last. Two bytes mark a frame, so the name is only a guess."""

SIGNATURES: Final = tuple(
    (re.compile(pattern, re.DOTALL), name)
    for pattern, name in (
        (rb"(?:RIFF|RIFX|RF64|BW64)....WAVE", "WAV"),
        (rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", "Wave64"),
        (rb"RIF[FX]....AVI ", "AVI"),
        (rb"RIFF....QLCM", "QCP"),
        (rb"fLaC", "FLAC"),
        (rb"OggS", "Ogg"),
        (rb"FORM....AIF[FC]", "AIFF"),
        (rb"\.snd|dns\.", "AU"),
        (rb"....(?:ftyp|moov|wide|mdat|pnot|skip|free)", "MP4"),
        (rb"\x1aE\xdf\xa3", "Matroska or WebM"),
        (rb"caff\x00[\x01\x02]", "CAF"),
        (rb"#!AMR", "AMR"),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF"),
        (rb"NIST_1A\n", "SPHERE"),
        (rb"wvpk", "WavPack"),
        (rb"MAC ", "Monkey's Audio"),
        (rb"TTA[12]", "TTA"),
        (rb"MP\+|MPCK", "Musepack"),
        (rb"tBaK", "TAK"),
        (rb"ajkg", "Shorten"),
        (rb"DSD \x1c|FRM8", "DSD"),
        (rb"qoaf", "QOA"),
        (rb"Creative Voice File", "VOC"),
        (rb"\.RMF|\.ra\xfd", "RealAudio"),
        (rb"FLV\x01", "FLV"),
        (rb"\x0b\x77", AC3),
        (rb"\x7f\xfe\x80\x01", DTS),
        (rb"\x00\x00\x01\xba", "MPEG-PS"),
        (rb"\x47.{187}\x47.{187}\x47", "MPEG-TS"),
        (rb"\xff[\xf0\xf1\xf8\xf9]", ADTS),
        (rb"\xff[\xe2-\xe7\xea-\xef\xf2-\xf7\xfa-\xff]", MPEG_AUDIO),
    )
)

OTHERS: Final = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), name)
    for pattern, name in (
        (rb"MThd", "a MIDI file"),
        (rb"OFR ", "OptimFROG audio"),
        (rb"\x89PNG|\xff\xd8\xff|GIF8|BM.{12}\(\x00|RIFF....WEBP", "an image"),
        (rb"%PDF", "a PDF document"),
        (rb"PK\x03\x04|\x1f\x8b\x08|7z\xbc\xaf|Rar!|BZh[1-9]|\xfd7zXZ|\x28\xb5\x2f\xfd", "a compressed archive"),
        (rb"\s*(?:<!doctype html|<html)", "an HTML page"),
        (rb"version https://git-lfs", "a Git LFS pointer instead of the file"),
        (rb"#EXTM3U|\[playlist\]|ffconcat", "a playlist"),
    )
)
"""Other files that people send, recognised by their first bytes: no decoder is tried, and a refusal can name them."""

EMBEDDED: Final = re.compile(
    rb"(?:RIFF|RIFX|RF64|BW64)....WAVE|fLaC\x00\x00\x00\x22|OggS\x00[\x02\x06]|FORM....AIF[FC]|....ftyp[\x20-\x7e]{4}"
    rb"|\x1aE\xdf\xa3|caff\x00\x01|\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    re.DOTALL,
)
EMBEDDED_PARTS: Final = (b"WAVE", b"fLaC", b"OggS", b"AIF", b"ftyp", b"\x1aE\xdf\xa3", b"caff", b"\x30\x26\xb2\x75")
"""Each match of EMBEDDED contains one of them."""
MAX_PREFIX: Final = 64 << 10
"""Bytes that may precede a clip's signature."""


def signature(data: memoryview) -> str | None:
    """The container that the clip begins as; None if its first bytes are unknown."""
    return next((name for pattern, name in SIGNATURES if pattern.match(data)), None)


def other(data: memoryview) -> str | None:
    """The name of a file that is not readable audio, from its first bytes; None if they are unknown."""
    return next((name for pattern, name in OTHERS if pattern.match(data)), None)


def embedded(data: memoryview) -> int | None:
    """The position of a signature after foreign bytes, within MAX_PREFIX; None without one."""
    prefix = bytes(data[:MAX_PREFIX])
    if not any(part in prefix for part in EMBEDDED_PARTS):  # thirty times as fast as the search
        return None
    found = EMBEDDED.search(prefix, 1)
    return None if found is None else found.start()
