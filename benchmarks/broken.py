"""Files that hold no recording, of the kinds that collections have: failed downloads, cut uploads, other files."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
import soundfile

MP4 = b"\0\0\0\x14ftypM4A \0\0\0\0isom\0\x10\0\0mdat"


def kinds() -> dict[str, Callable[[random.Random], bytes]]:
    """What makes a file of each kind; those with random bytes differ each time."""
    wav, flac, mp3, ogg = (_encoded(each) for each in ("WAV", "FLAC", "MP3", "OGG"))
    return {
        "empty": lambda _: b"",
        "HTML page": lambda _: b"<!doctype html><html><body><h1>404 Not Found</h1>" + 40 * b"<p>nginx</p>",
        "XML error": lambda _: b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>',
        "JSON error": lambda _: b'{"error": {"code": 403, "message": "expired"}}',
        "text": lambda _: b"path,label\n" + 300 * b"a.wav,dog\n",
        "LFS pointer": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:4f1d\nsize 441044\n",
        "random bytes": lambda chance: chance.randbytes(2_000),
        "WAV cut in its header": lambda _: wav[:20],
        "WAV with a damaged header": lambda chance: wav[:12] + chance.randbytes(5_000),
        "WAV without samples": lambda _: wav[:40] + bytes(4),
        "FLAC cut in its header": lambda _: flac[:30],
        "FLAC with a damaged header": lambda chance: flac[:4] + chance.randbytes(5_000),
        "MP3 cut in its first frame": lambda _: mp3[:30],
        "tag without an MP3": lambda _: b"ID3\x04\0\0\0\0\x0f\x76" + bytes(2_038),
        "Ogg cut in its first page": lambda _: ogg[:40],
        "MP4 without its index": lambda chance: (
            b"\0\0\0\x14ftypM4A \0\0\0\0isom\0\x10\0\0mdat" + chance.randbytes(4_000)
        ),
        "ZIP": lambda chance: _zipped(chance.randbytes(4_000)),
        "PDF": lambda chance: b"%PDF-1.7\n" + chance.randbytes(20_000),
        "PNG": lambda chance: b"\x89PNG\r\n\x1a\n" + chance.randbytes(30_000),
        "JPEG": lambda chance: b"\xff\xd8\xff\xe0\0\x10JFIF\0" + chance.randbytes(30_000),
    }


def files(count: int) -> Iterator[bytes]:
    """`count` files, of each kind in turn; the same on every call."""
    chance = random.Random(0)
    makers = list(kinds().values())
    for number in range(count):
        yield makers[number % len(makers)](chance)


def _encoded(container: str) -> bytes:
    noise = (0.1 * np.random.default_rng(0).standard_normal(44_100)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, noise, 44_100, format=container)
    return file.getvalue()


def _zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("recording.wav", data)
    return file.getvalue()
