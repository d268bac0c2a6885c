"""Measure CPU time and memory of `anysound serve` for clips of 5 s, to size pods: `python k8s/sizing.py`.

CPU time per clip tolerates other load on the machine. Clips per second of a pod are its cores divided by it. On a GPU,
use the time per batch on the dashboard instead.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "anysound" / "files"))
from load import LABELS, ask, recording, varied

HEAD = """\
| callers | CPU s per clip | clips/s per core | memory MiB | cost of 10⁶ clips |
|---|---|---|---|---|"""
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def processor_s(pid: int) -> float:
    """User and system CPU seconds of a process and its descendants so far, ended children included."""
    total = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15])
    return total * TICK_S


def memory_mib(pid: int) -> float:
    """Proportional set size of a process and its descendants in MiB; shared pages count once."""
    text = [Path(f"/proc/{each}/smaps_rollup").read_text() for each in family(pid)]
    return sum(int(kib) for each in text for kib in re.findall(r"^Pss:\s+(\d+)", each, flags=re.MULTILINE)) / 1024


def serve(log: Path) -> tuple[subprocess.Popen[bytes], str]:
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "anysound", "serve", "--port=0"], stderr=output)
    while not (found := re.search(r"http://\S+:\d+", log.read_text())):
        time.sleep(0.1)
    url = f"{found[0]}/v1/classify?" + "&".join(f"labels={label}" for label in LABELS)
    while ask(url, recording(0, 1), {"Content-Type": "audio/wav"}, 60) != "200":
        time.sleep(0.2)
    return process, url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200, help="clips per row")
    parser.add_argument("--price", type=float, default=0.04, help="price of a core per hour")
    options = parser.parse_args()
    bodies = [recording(seed) for seed in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        process, url = serve(Path(folder) / "log")
        try:
            print(HEAD)  # noqa: T201
            number = 0
            for callers in (1, 4, 16):
                began = processor_s(process.pid)
                numbers = range(number, number + options.clips)
                number += options.clips

                def one(n: int) -> str:
                    return ask(url, varied(bodies[n % len(bodies)], n + 1), {"Content-Type": "audio/wav"}, 60)

                with ThreadPoolExecutor(callers) as pool:
                    served = sum(status == "200" for status in pool.map(one, numbers))
                if served < options.clips:
                    raise SystemExit(f"{options.clips - served} of {options.clips} clips were not served")
                clip_s = (processor_s(process.pid) - began) / served
                cost = clip_s * 1e6 / 3600 * options.price
                print(f"| {callers} | {clip_s:.4f} | {1 / clip_s:.1f} | {memory_mib(process.pid):.0f} | {cost:.2f} |")  # noqa: T201
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


if __name__ == "__main__":
    main()
