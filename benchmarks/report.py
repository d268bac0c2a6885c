"""One table of everything measured, the same as JSON, and a plot."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measurement import Measurement
from model.cores import cores


@dataclass(frozen=True)
class Check:
    """A figure and its target; `holds` says whether it was reached."""

    what: str
    measured: str
    wanted: str
    holds: bool


@dataclass
class Report:
    """The results so far; saved after each measurement."""

    machine: dict[str, Any] = field(default_factory=lambda: machine())
    measurements: list[Measurement] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write `results.json`, `results.txt` and, if matplotlib is installed, `results.png`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(asdict(self), indent=2) + "\n")
        with (folder / "results.txt").open("w") as file:
            self.show(Console(file=file, width=160))
        plot(self.measurements, folder / "results.png")

    def show(self, console: Console) -> None:
        console.print(", ".join(f"{name}: {value}" for name, value in self.machine.items()))
        console.print(table(self.measurements))
        if self.checks:
            console.print(verdicts(self.checks))
        for note in self.notes:
            console.print(note, highlight=False)


def machine() -> dict[str, Any]:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    load = os.getloadavg()[0]
    return {
        "cpu": cpu,
        "cores": cores(),
        "load before": round(load, 1),
        "torch": version("torch"),
        "anysound": version("anysound"),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
    }


def table(measurements: Sequence[Measurement]) -> Table:
    shown = Table(title="Clips per second and latency", title_justify="left")
    for column in ("model", "system", "load"):
        shown.add_column(column, no_wrap=True)
    for column in ("clips/s", "p50 ms", "p95 ms", "p99 ms", "refused", "failed", "refusal p99 ms"):
        shown.add_column(column, justify="right")
    shown.add_column("CPU ms per clip")
    shown.add_column("total", justify="right")
    shown.add_column("generator", justify="right")
    last = None
    for row in measurements:
        if last is not None and last != (row.model, row.system):
            shown.add_section()
        last = (row.model, row.system)
        load = {"closed": f"{row.level:.0f} clients", "offered": f"{row.level:.1f}/s", "bare": f"batch {row.level:.0f}"}
        shown.add_row(
            row.model,
            row.system,
            load[row.mode],
            f"{row.clips_s:.1f}",
            *(number(value) for value in (row.p50, row.p95, row.p99)),
            str(row.refused or ""),
            str(row.failed or ""),
            number(row.refusal_p99),
            ", ".join(f"{role} {value:.1f}" for role, value in row.cpu_ms.items()),
            number(row.total_ms),
            number(row.generator_ms) if row.generator_ms else "",
        )
    return shown


def number(value: float) -> str:
    return "" if value != value else f"{value:.1f}"  # NaN: there was none


def verdicts(checks: Sequence[Check]) -> Table:
    shown = Table(title="Targets", title_justify="left")
    for column in ("what", "measured", "at least", ""):
        shown.add_column(column)
    for check in checks:
        verdict = "[green]holds[/]" if check.holds else "[red]falls short[/]"
        shown.add_row(check.what, check.measured, check.wanted, verdict)
    return shown


def plot(measurements: Sequence[Measurement], path: Path) -> None:
    """Plot latency against throughput: a line per system, a panel per model. Does nothing without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        return
    mpl.use("Agg")
    from matplotlib import pyplot

    models = list(dict.fromkeys(row.model for row in measurements if row.mode != "bare"))
    if not models:
        return
    figure, panels = pyplot.subplots(1, len(models), figsize=(6 * len(models), 4.5), squeeze=False)
    for panel, model in zip(panels[0], models, strict=True):
        rows = [row for row in measurements if row.model == model]
        for system, mode in dict.fromkeys((row.system, row.mode) for row in rows if row.mode != "bare"):
            line = sorted((row for row in rows if (row.system, row.mode) == (system, mode)), key=lambda row: row.level)
            loads = "clients" if mode == "closed" else "offered"
            style = "o-" if mode == "closed" else "s--"
            (drawn,) = panel.plot([r.clips_s for r in line], [r.p50 for r in line], style, label=f"{system}, {loads}")
            panel.plot([r.clips_s for r in line], [r.p99 for r in line], ":", color=drawn.get_color())
        bare = [row.clips_s for row in rows if row.mode == "bare"]
        if bare:
            panel.axvline(max(bare), color="black", linewidth=1, label="bare")
        panel.set(title=model, xlabel="clips per second", ylabel="latency in ms: p50, dotted p99", yscale="log")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
