"""Memory of the service under full load, by the number of cores it computes on: `python -m benchmarks.memory`.

`--cores` makes the service pretend to have that many, so that this can be measured on a small machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.measurement import resident_mib, tree
from benchmarks.systems import anysound
from k8s.anysound.files.load import ask, recording, varied

HEAD = """\
| cores | worker MiB | all processes MiB |
|---|---|---|"""
CLIP_S = 30.0


def measured(cores: int, seconds: float, model: Path | None, folder: Path) -> tuple[float, float]:
    """Anonymous memory of the worker and of all processes in MiB, with two clients per core and clips of 30 s."""
    with anysound(model, folder / "log", "--cores", str(cores), "--max-queue-seconds", "100000") as running:
        address = f"http://{running.target.host}:{running.target.port}{running.target.path}"
        bodies = [recording(seed, CLIP_S) for seed in range(2)]
        end = time.monotonic() + seconds

        def client(number: int) -> None:
            while time.monotonic() < end:
                number += 1_000
                body = varied(bodies[number % len(bodies)], number)
                ask(address, body, {"Content-Type": "audio/wav"}, 120)

        with ThreadPoolExecutor(2 * cores) as pool:
            list(pool.map(client, range(2 * cores)))
        return resident_mib(running.processes()["worker"]), resident_mib(tree(running.pid))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--cores", type=int, nargs="+", default=[2, 16, 64])
    parser.add_argument("--seconds", type=float, default=60, help="duration of the load for each row (default: 60)")
    parser.add_argument("--model", type=Path, help="checkpoint directory (default: the bundled one)")
    options = parser.parse_args(arguments)
    print(HEAD)
    with tempfile.TemporaryDirectory() as folder:
        for cores in options.cores:
            worker, total = measured(cores, options.seconds, options.model, Path(folder))
            print(f"| {cores} | {worker:.0f} | {total:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
