"""Embeddings as bytes: they are read as they were written, and anything else is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.prompts import Embeddings
from service.cache.stored_vectors import HEADER, MAGIC, VERSION, BadValue, pack, rounded, unpack


def vectors(rows: int = 3, dim: int = 64, seed: int = 0) -> Embeddings:
    values = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    unit: Embeddings = values / np.linalg.norm(values, axis=1, keepdims=True)
    return unit


def test_what_is_read_is_bit_for_bit_what_was_rounded() -> None:
    given = vectors()
    assert np.array_equal(unpack(pack(given), 64), rounded(given))
    assert np.array_equal(rounded(rounded(given)), rounded(given))


def test_rounding_moves_a_similarity_by_less_than_a_thousandth() -> None:
    a, b = vectors(200, 512, 1), vectors(200, 512, 2)
    assert np.abs((rounded(a) * b).sum(axis=1) - (a * b).sum(axis=1)).max() < 1e-4


def test_a_value_is_its_header_and_two_bytes_a_number() -> None:
    assert len(pack(vectors(3, 64))) == HEADER.size + 3 * 64 * 2


def header(dim: int = 64, rows: int = 1, magic: bytes = MAGIC, version: int = VERSION) -> bytes:
    return HEADER.pack(magic, version, dim, rows)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"hello",
        pack(vectors())[:-1],
        pack(vectors()) + b"\0",
        pack(vectors(dim=32)),
        header(rows=0),
        header(version=VERSION + 1) + pack(vectors(1))[HEADER.size :],
        header(magic=b"else") + pack(vectors(1))[HEADER.size :],
        header(rows=1 << 31) + bytes(128),
        header() + bytes(128),
        pack(2 * vectors(1)),
        pack(np.full((1, 64), np.nan, np.float32)),
        pack(np.full((1, 64), np.inf, np.float32)),
    ],
    ids=["empty", "text", "short", "long", "dim", "none", "version", "magic", "lying", "zeros", "norm", "nan", "inf"],
)
def test_anything_else_is_refused(value: bytes) -> None:
    with pytest.raises(BadValue), np.errstate(over="ignore"):
        unpack(value, 64)


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail_in_another_way(value: bytes) -> None:
    with pytest.raises(BadValue):
        unpack(value, 64)


@given(st.binary(min_size=128, max_size=128))
def test_whatever_is_read_has_length_one(body: bytes) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            [row] = unpack(header() + body, 64)
        except BadValue:
            return
    assert np.linalg.norm(row) == pytest.approx(1, abs=0.01)
