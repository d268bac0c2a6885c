"""Metadata tags in front of a clip and behind it: ID3v2, ID3v1, APEv2 and Lyrics3.

Formats without a container let players find tags at either end. A decoder that is not told of them reads them as audio,
or refuses the file.
"""

from __future__ import annotations

import re
import struct

from model.audio.formats import ADTS, FRAMES_ONLY, MPEG_AUDIO, signature

MAX_TAGS = 8
"""Tags looked for at either end."""
APE_HAS_HEADER = 1 << 31
LYRICS = re.compile(rb"(\d{6})LYRICS200")


def between_tags(data: memoryview) -> slice:
    """The position of the clip between its tags.

    An ID3v2 tag stays in front of MPEG audio and of what is unknown: FFmpeg reads it, and recognises the format by it.
    """
    start, stop = leading(data), len(data)
    name = signature(data[start:])
    if name in FRAMES_ONLY or name == "FLAC":
        stop -= trailing(data)
    return slice(0 if name in (None, ADTS, MPEG_AUDIO) else start, stop)


def leading(data: memoryview) -> int:
    """Bytes of the tags in front."""
    at = 0
    for _ in range(MAX_TAGS):
        size = _id3v2(data[at : at + 10]) or _ape_header(data[at : at + 32])
        if not size or at + size >= len(data):
            break
        at += size
    return at


def trailing(data: memoryview) -> int:
    """Bytes of the tags behind."""
    end = len(data)
    for _ in range(MAX_TAGS):
        size = _id3v1(data[:end]) or _ape_footer(data[:end]) or _lyrics(data[:end])
        if not size or size >= end:
            break
        end -= size
    return len(data) - end


def _id3v2(head: memoryview) -> int:
    """https://id3.org/id3v2.4.0-structure, section 3.1."""
    if len(head) < 10 or bytes(head[:3]) != b"ID3" or max(head[6:10]) > 0x7F:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _ape_header(head: memoryview) -> int:
    """https://wiki.hydrogenaud.io/index.php?title=APE_Tags_Header."""
    if len(head) < 32 or bytes(head[:8]) != b"APETAGEX":
        return 0
    return 32 + int(struct.unpack_from("<I", head, 12)[0])


def _ape_footer(data: memoryview) -> int:
    if len(data) < 32 or bytes(data[-32:-24]) != b"APETAGEX":
        return 0
    _, size, _, flags = struct.unpack_from("<4I", data, len(data) - 24)
    return int(size) + (32 if flags & APE_HAS_HEADER else 0)


def _id3v1(data: memoryview) -> int:
    return 128 if len(data) >= 128 and bytes(data[-128:-125]) == b"TAG" else 0


def _lyrics(data: memoryview) -> int:
    """https://id3.org/Lyrics3v2."""
    found = LYRICS.fullmatch(data[-15:]) if len(data) >= 15 else None
    return 15 + int(found[1]) if found else 0
