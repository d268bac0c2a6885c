"""Two runs of `anysound bench` side by side: `anysound bench --compare OLD.json NEW.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

Key = tuple[str, str, str, float]
FIGURES = {"clips/s": "clips_s", "p50 ms": "p50", "p99 ms": "p99"}


def rows(path: Path) -> dict[Key, dict[str, Any]]:
    """The measurements of a results.json by model, system, mode and level. Raises ValueError if it is none."""
    document = json.loads(path.read_text())
    try:
        found = document["measurements"]
        return {(row["model"], row["system"], row["mode"], row["level"]): row for row in found}
    except (TypeError, KeyError):
        raise ValueError(f"{path} is no results.json of `anysound bench`") from None


def figures(row: dict[str, Any]) -> dict[str, float]:
    """A measurement's figures by name; CPU time per clip is that of all roles."""
    return {**{name: row[key] for name, key in FIGURES.items()}, "CPU ms per clip": sum(row["cpu_ms"].values())}


def compare(old: Path, new: Path) -> Table:
    """What both runs measured: each figure before and after, and their ratio. Raises ValueError."""
    before, after = rows(old), rows(new)
    both = [key for key in after if key in before]
    if not both:
        raise ValueError("the two runs have no measurement in common")
    shown = Table(title="Before, after, ratio", title_justify="left")
    for column in ("model", "system", "load"):
        shown.add_column(column, no_wrap=True)
    for column in (*FIGURES, "CPU ms per clip"):
        shown.add_column(column, justify="right")
    for key in both:
        one, two = figures(before[key]), figures(after[key])
        shown.add_row(key[0], key[1], f"{key[2]} {key[3]:g}", *(pair(one[name], two[name]) for name in one))
    return shown


def pair(old: float, new: float) -> str:
    """Two figures and their ratio; empty for NaN, which stands for what was not measured."""
    if old != old or new != new or not old:
        return ""
    return f"{old:.1f} → {new:.1f}, {new / old:.2f}x"
