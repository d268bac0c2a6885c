"""Everything that is to be known about a GPU, in eight minutes, as one table and one JSON: `benchmarks/gpu/run FOLDER`.

FOLDER is made by `benchmarks/gpu/pack`. Parts run one after the other, each in a process with a time limit of its own:
what fails or hangs costs only itself. This module needs Python alone; the parts import what is in the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SITE = "site.tar.xz"
"""The packages that the machine lacks, for CPython 3.12."""


@dataclass(frozen=True)
class Limits:
    """A part, and its share of the run's time."""

    module: str
    share: float


PARTS = (Limits("correctness", 0.2), Limits("faults", 0.2), Limits("speed", 0.4), Limits("learning", 0.2))
"""Correctness and faults first: figures of a service that is wrong are worth nothing."""


def unpacked(pack: Path) -> Path:
    """The folder with the packages that the machine lacks, unpacked once. No pip is needed."""
    site = pack / "site"
    done = site / ".done"
    if not done.exists():
        shutil.rmtree(site, ignore_errors=True)
        site.mkdir()
        if (pack / SITE).exists():
            with tarfile.open(pack / SITE) as archive:
                archive.extractall(site, filter="data")
        done.touch()
    return site


def environment(pack: Path) -> dict[str, str]:
    """Variables for the parts: modules come from the folder first. Compute threads that wait sleep."""
    paths = [str(pack / "source"), str(unpacked(pack))]
    if before := os.environ.get("PYTHONPATH"):
        paths.append(before)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}


def flags(given: argparse.Namespace, seconds: float, rows: Path) -> list[str]:
    """The command line of a part."""
    named = ["--pack", str(given.folder), "--out", str(rows), "--device", given.device, "--seconds", f"{seconds:.0f}"]
    return [*named, "--quick"] if given.quick else named


def run_part(part: Limits, given: argparse.Namespace, seconds: float, rows: Path) -> None:
    """Run one part, and stop it with everything it started when its time is over."""
    began = time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.gpu.{part.module}", *flags(given, seconds, rows)]
    log = given.out / f"{part.module}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment(given.folder),
            cwd=given.folder / "source",
            start_new_session=True,
        )
        try:
            status: int | str = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = f"no end after {seconds:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what it left behind
            process.wait()
    if status != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:] or [""]
        row = {"part": part.module, "what": "the part", "value": f"{status}: {last[0][:300]}", "wanted": "0"}
        with rows.open("a") as file_of_rows:
            file_of_rows.write(json.dumps({**row, "holds": False}) + "\n")
    print(f"{part.module}: {time.monotonic() - began:.0f} s, {status}", flush=True)


def machine(given: argparse.Namespace) -> dict[str, Any]:
    """What the figures were measured on."""
    script = (
        "import json, torch, os; cuda = torch.cuda.is_available();"
        "print(json.dumps({'torch': torch.__version__, 'cores': len(os.sched_getaffinity(0)), 'gpu': "
        "torch.cuda.get_device_name() if cuda else None, 'gpu_gib': "
        "round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1) if cuda else None}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(given.folder)
    )
    try:
        about = json.loads(found.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        about = {"torch": found.stderr[-300:]}
    return {**about, "python": platform.python_version(), "device": given.device, "quick": given.quick}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text: no package is needed for it."""
    verdicts = {True: "holds", False: "FAILS", None: ""}
    lines = []
    last = ""
    for row in rows:
        if row["part"] != last:
            lines.append(f"\n{row['part']}")
            last = row["part"]
        wanted = f" (wanted: {row['wanted']})" if row["wanted"] else ""
        lines.append(f"  {verdicts[row['holds']]:5}  {row['what']}: {row['value']}{wanted}")
    return "\n".join(lines)


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu/run", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what `benchmarks/gpu/pack` made")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small models and few calls: whether all of it runs")
    parser.add_argument("--seconds", type=float, default=480.0, help="time for all parts together")
    parser.add_argument("--parts", default=",".join(part.module for part in PARTS))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    given = parser.parse_args(arguments)
    if unknown := set(given.parts.split(",")) - {part.module for part in PARTS}:
        parser.error(f"unknown part {sorted(unknown)[0]}: there are {', '.join(part.module for part in PARTS)}")
    given.folder, given.out = given.folder.resolve(), given.out.resolve()
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    given = options(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    rows = given.out / "rows.jsonl"
    rows.unlink(missing_ok=True)
    rows.touch()
    about = machine(given)
    wanted = [part for part in PARTS if part.module in given.parts.split(",")]
    ends = time.monotonic() + given.seconds
    for number, part in enumerate(wanted):
        # A part that ends early leaves its time to those that follow.
        share = part.share / sum(each.share for each in wanted[number:])
        run_part(part, given, max(10.0, share * (ends - time.monotonic())), rows)
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    (given.out / "gpu.json").write_text(json.dumps({"machine": about, "rows": found}, indent=2) + "\n")
    text = f"{', '.join(f'{name}: {value}' for name, value in about.items())}\n{table(found)}\n"
    (given.out / "gpu.txt").write_text(text)
    print(text)
    return 1 if any(row["holds"] is False for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
