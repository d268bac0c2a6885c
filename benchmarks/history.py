"""The cost of a clip over time: `python -m benchmarks.history` takes two minutes, `--land` records its figure.

Measured is the CPU time of all of the service's processes for one clip (bundled checkpoint, WAV at 44.1 kHz, 32
clients), over the bare pipeline's in the same run: a ratio of CPU times, which hardly depends on the machine or on its
other load. It is compared with the last line of `history.jsonl`. It informs, and always succeeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import recordings
from benchmarks.bare import Bare
from benchmarks.load import Plan
from benchmarks.measurement import measure
from benchmarks.report import machine
from benchmarks.systems import anysound

ROOT = Path(__file__).parents[1]
HISTORY = Path(__file__).parent / "history.jsonl"
BATCH = 8
CD_RATE = 44_100
out = Console(markup=False, highlight=False, soft_wrap=True)


def measured(folder: Path, seconds: float) -> dict[str, Any]:
    """The service between two runs of the bare pipeline: a line of the history."""
    clips = recordings.prepare(ROOT / "examples", folder / "clips", CD_RATE)
    with ExitStack() as stack:
        bare = stack.enter_context(Bare(None, clips))
        running = stack.enter_context(anysound(None, folder / "service.log"))
        before = bare.pace("wav", BATCH, bare.streams, seconds / 2)
        plan = Plan(running.target, clips, seconds, min(2.0, seconds / 2), clients=32)
        row = measure("anysound", "bundled", plan, running.processes)
        after = bare.pace("wav", BATCH, bare.streams, seconds / 2)
    least = (before.cpu_ms + after.cpu_ms) / 2
    about = machine()
    return {
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "cpu": about["cpu"],
        "cores": about["cores"],
        "load": about["load before"],
        "cpu_ms": {role: round(value, 2) for role, value in row.cpu_ms.items()},
        "bare_ms": round(least, 2),
        "over_bare": round(row.total_ms / least, 3),
    }


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def landed(path: Path = HISTORY) -> dict[str, Any] | None:
    """The last line of the history."""
    lines = path.read_text().splitlines() if path.exists() else []
    return json.loads(lines[-1]) if lines else None


def describe(now: dict[str, Any], last: dict[str, Any] | None) -> str:
    """The figure, and its ratio to the last one that landed."""
    roles = ", ".join(f"{role} {value:.1f}" for role, value in now["cpu_ms"].items())
    text = f"CPU time per clip: {roles} ms; {now['over_bare']:.2f} times the bare pipeline's {now['bare_ms']:.1f} ms"
    if last is None:
        return text
    return f"{text}; {now['over_bare'] / last['over_bare']:.2f} times the last landed figure ({last['commit']})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of the load")
    parser.add_argument("--land", action="store_true", help="append the figure to history.jsonl")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="anysound-history-") as folder:
            now = measured(Path(folder), given.seconds)
    except Exception as error:  # noqa: BLE001 - a busy machine must not fail a run that it only informs
        out.print(f"the cost of a clip could not be measured: {type(error).__name__}: {error}")
        return 0
    out.print(describe(now, landed()))
    if given.land:
        with HISTORY.open("a") as file:
            file.write(json.dumps(now) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
