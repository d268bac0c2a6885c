"""Which devices to serve on. The supervisor asks, and never imports torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

NODES = Path("/dev")


def devices(setting: str, nodes: Path = NODES) -> list[str]:
    """torch devices for `auto` (every GPU, else the CPU), `cuda` (every GPU), or a list such as `cuda:0,cuda:1`.

    Raises ValueError if `cuda` finds no GPU or the list is empty.
    """
    if setting not in ("auto", "cuda"):
        named = [name.strip() for name in setting.split(",") if name.strip()]
        if not named:
            raise ValueError("--device names no device")
        return named
    count = _gpus(nodes)
    if count:
        return [f"cuda:{number}" for number in range(count)]
    if setting == "cuda":
        raise ValueError("--device cuda: this machine has no GPU")
    return ["cpu"]


def _gpus(nodes: Path) -> int:
    present = sum(1 for node in nodes.glob("nvidia*") if re.fullmatch(r"nvidia\d+", node.name))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return present
    return min(present, len([each for each in visible.split(",") if each.strip() not in ("", "-1")]))
