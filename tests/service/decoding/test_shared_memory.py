"""Memory of two processes: neither can take it from the other."""

from __future__ import annotations

import fcntl
import os

import pytest

from service.decoding import shared_memory
from service.decoding.shared_memory import SharedMemory


def test_what_one_side_writes_the_other_reads() -> None:
    ours = SharedMemory()
    ours.grow(10_000)
    theirs = SharedMemory(os.dup(ours.descriptor))
    ours.map(5)[:] = b"clip1"
    assert bytes(theirs.map(ours.size)[:5]) == b"clip1"
    for memory in (ours, theirs):
        memory.close()


def test_it_cannot_be_cut_off_nor_sealed_by_the_other_side() -> None:
    memory = SharedMemory()
    memory.grow(10_000)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.descriptor, 0)
    with pytest.raises(PermissionError):
        fcntl.fcntl(memory.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    memory.close()


def test_pages_above_what_is_kept_are_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "KEPT_BYTES", 1 << 16)
    memory = SharedMemory()
    memory.grow(1 << 20)
    memory.map(1 << 20)[:] = bytes(1 << 20)
    assert os.fstat(memory.descriptor).st_blocks * 512 == 1 << 20
    memory.trim()
    assert os.fstat(memory.descriptor).st_blocks * 512 == 1 << 16
    memory.close()
