"""The device that a user names."""

from __future__ import annotations

import re

import torch


class DeviceError(ValueError):
    """There is no such device; the message says which devices there are."""


def find_device(name: str | None) -> torch.device:
    """`cpu`, `cuda` or `cuda:N`; None or `auto`: the GPU if there is one, else the CPU. Raises DeviceError."""
    if name is None or name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise DeviceError(f"unknown device {name}; known are auto, cpu, cuda and cuda:N")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise DeviceError(f"device {name}: torch {torch.__version__} finds no GPU or no driver for it")
        if device.index is not None and device.index >= count:
            raise DeviceError(f"device {name}: there are {count} GPUs, the last is cuda:{count - 1}")
    return device
