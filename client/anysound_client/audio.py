"""Recordings as callers have them: a path, bytes, an open file, or an array with its sample rate."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Union


class Array(Protocol):
    """The part of a NumPy array's interface that is used."""

    @property
    def dtype(self) -> Any: ...

    @property
    def ndim(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def astype(self, dtype: str) -> Any: ...


Audio = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, BinaryIO, "tuple[Array, int]"]

PCM, FLOAT = 1, 3
"""Format tags of a WAV header."""


def read(audio: Audio, position: int = 0) -> tuple[str, bytes]:
    """A recording's name and bytes. Raises OSError for a file that cannot be read, TypeError for anything else."""
    unnamed = f"audio-{position + 1}"
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return unnamed, bytes(audio)
    if isinstance(audio, (str, os.PathLike)):
        path = Path(audio)
        return path.name, path.read_bytes()
    if isinstance(audio, tuple):
        samples, rate = audio
        return f"{unnamed}.wav", wav(samples, rate)
    if hasattr(audio, "read"):
        data = audio.read()
        if not isinstance(data, bytes):
            raise TypeError("the file is open as text; open it with 'rb'")
        name = getattr(audio, "name", unnamed)
        return Path(name).name if isinstance(name, str) else unnamed, data
    raise TypeError(f"a recording is a path, bytes, a binary file or (array, sample rate), not {type(audio).__name__}")


def wav(samples: Array, rate: int) -> bytes:
    """A WAV of samples [frames] or [frames, channels]: float32 for floats in -1 to 1, 16 bit for int16.

    Raises TypeError for another kind of number and ValueError for another shape.
    """
    if samples.ndim not in (1, 2):
        raise ValueError(f"samples are [frames] or [frames, channels], not {tuple(samples.shape)}")
    data: bytes
    if samples.dtype.kind == "f":
        tag, width, data = FLOAT, 4, samples.astype("<f4").tobytes()
    elif samples.dtype.kind == "i" and samples.dtype.itemsize == 2:
        tag, width, data = PCM, 2, samples.astype("<i2").tobytes()
    else:
        raise TypeError(f"samples are floats or int16, not {samples.dtype}")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    frame = channels * width
    header = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, 8 * width)
    chunks = b"fmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
