"""How embeddings are written down: a versioned header, then float16, checked on the way back."""

from __future__ import annotations

import struct

import numpy as np

from model.prompts import Embeddings

HEADER = struct.Struct("<4sHHI")
MAGIC = b"asnd"
VERSION = 1
NORM_TOLERANCE = 0.01
"""How far from 1 a row's length may be; float16 moves it by less than a thousandth."""


class BadValue(ValueError):
    """These bytes are no embeddings of ours."""


def rounded(vectors: Embeddings) -> Embeddings:
    """Vectors as they come back from `pack`: what was kept and what is new must not differ by a bit."""
    return vectors.astype("<f2").astype(np.float32)


def pack(vectors: Embeddings) -> bytes:
    """L2-normalised float32 [rows, d] as bytes."""
    rows, dim = vectors.shape
    return HEADER.pack(MAGIC, VERSION, dim, rows) + vectors.astype("<f2").tobytes()


def unpack(value: bytes, dim: int) -> Embeddings:
    """Float32 [rows, dim]. Raises BadValue for another version, length or dimension, and for rows not of length 1."""
    if len(value) < HEADER.size:
        raise BadValue("too short")
    magic, version, stored_dim, rows = HEADER.unpack_from(value)
    if (magic, version, stored_dim) != (MAGIC, VERSION, dim) or len(value) != HEADER.size + 2 * dim * rows or not rows:
        raise BadValue("another format")
    vectors: Embeddings = np.frombuffer(value, "<f2", offset=HEADER.size).reshape(rows, dim).astype(np.float32)
    # A comparison that is false for NaN too.
    if not (np.abs(np.linalg.norm(vectors, axis=1) - 1) < NORM_TOLERANCE).all():
        raise BadValue("not of length 1")
    return vectors
