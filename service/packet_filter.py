"""Programs of the kernel's packet filter, which also filters system calls (linux/filter.h)."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence

RETURN, ANY_BIT = 0x06, 0x45
"""Instructions that every kind of program has (linux/bpf_common.h)."""

Instruction = tuple[int, int, int, int]
"""Code, how many instructions to skip where the comparison holds and where it does not, and the operand."""


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    @classmethod
    def of(cls, code: Sequence[Instruction]) -> Program:
        return cls(len(code), b"".join(struct.pack("HBBI", *instruction) for instruction in code))
