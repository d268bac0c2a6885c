"""The format of embeddings in Redis: a versioned header, then float16. Reading checks both."""

from __future__ import annotations

import struct

import numpy as np

from model.prompts import Embeddings

HEADER = struct.Struct("<4sHHI")
MAGIC = b"asnd"
VERSION = 1
NORM_TOLERANCE = 0.01
"""Allowed distance of a row's norm from 1. Rounding to float16 changes the norm by less than 0.001."""


class BadValue(ValueError):
    """The bytes were not written by `pack`."""


def rounded(vectors: Embeddings) -> Embeddings:
    """Vectors as `unpack(pack(vectors))` returns them, so that cached and new embeddings are equal to the bit."""
    return vectors.astype("<f2").astype(np.float32)


def pack(vectors: Embeddings) -> bytes:
    """L2-normalised float32 [rows, d] as bytes."""
    rows, dim = vectors.shape
    return HEADER.pack(MAGIC, VERSION, dim, rows) + vectors.astype("<f2").tobytes()


def unpack(value: bytes, dim: int) -> Embeddings:
    """Float32 [rows, dim]. Raises BadValue if the version, length or dimension is wrong, or a row's norm is not 1."""
    if len(value) < HEADER.size:
        raise BadValue("too short")
    magic, version, stored_dim, rows = HEADER.unpack_from(value)
    if (magic, version, stored_dim) != (MAGIC, VERSION, dim) or len(value) != HEADER.size + 2 * dim * rows or not rows:
        raise BadValue("another format")
    vectors: Embeddings = np.frombuffer(value, "<f2", offset=HEADER.size).reshape(rows, dim).astype(np.float32)
    # This comparison is false for NaN too.
    if not (np.abs(np.linalg.norm(vectors, axis=1) - 1) < NORM_TOLERANCE).all():
        raise BadValue("a norm is not 1")
    return vectors
