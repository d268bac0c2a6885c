"""The results of a run: rates and percentiles of its requests, CPU time and memory of its processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.load import REFUSED, Plan, Sample

CLOCK_HZ = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Measurement:
    """One system at one level of load; `level` is clients, or offered requests per second.

    Latencies are in milliseconds, of served requests only; `cpu_ms` is CPU time per served clip, by role of the
    system's processes. `generator_ms` is that of the load generator.
    """

    system: str
    model: str
    mode: str
    level: float
    seconds: float
    served: int
    refused: int
    failed: int
    clips_s: float
    p50: float
    p95: float
    p99: float
    refusal_p50: float
    refusal_p99: float
    cpu_ms: dict[str, float] = field(default_factory=dict)
    generator_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        """CPU time per served clip, of all of the system's processes."""
        return sum(self.cpu_ms.values())


def percentiles(milliseconds: Sequence[float], *points: float) -> list[float]:
    if not milliseconds:
        return [float("nan")] * len(points)
    return [float(value) for value in np.percentile(milliseconds, points)]


def run(plan: Plan, generators: int = 1) -> tuple[list[Sample], float]:
    """Run the plan in load generator processes, which share its clients. Returns its requests and the CPU seconds that
    generating them took."""
    shares = [plan]
    if generators > 1 and plan.clients is not None:
        shares = [replace(plan, clients=plan.clients // generators, seed=number) for number in range(generators)]
    command = [sys.executable, "-m", "benchmarks.load"]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in shares]
    with ThreadPoolExecutor(len(shares)) as threads:
        written = list(
            threads.map(lambda process, share: process.communicate(json.dumps(asdict(share)))[0], running, shares)
        )
    if any(process.returncode for process in running):
        raise RuntimeError("a load generator failed")
    results = [json.loads(text) for text in written]
    samples = [Sample(**sample) for result in results for sample in result["samples"]]
    return samples, sum(result["cpu_s"] for result in results)


Processes = Callable[[], dict[str, list[int]]]
"""The processes of a system, by role. They change: a decoder is replaced after some time."""


class CpuTime:
    """CPU seconds that the processes of a system use while the context is open, by role.

    They are looked at four times per second: what a process did since the last look is lost when it ends.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._seen: dict[tuple[str, int], float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> CpuTime:
        self._look()
        self._before = dict(self._seen)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def used(self) -> dict[str, float]:
        total = dict.fromkeys(self._processes(), 0.0)
        for key, seconds in self._seen.items():
            total[key[0]] = total.get(key[0], 0.0) + seconds - self._before.get(key, 0.0)
        return total

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            self._look()

    def _look(self) -> None:
        for role, pids in self._processes().items():
            for pid in pids:
                self._seen[role, pid] = max(cpu_s([pid]), self._seen.get((role, pid), 0.0))


def measure(system: str, model: str, plan: Plan, processes: Processes, generators: int = 1) -> Measurement:
    """Run a plan and measure it."""
    with CpuTime(processes) as cpu:
        samples, generator_s = run(plan, generators)
    begin = plan.warm_up_s
    end = begin + plan.seconds
    everything = sum(sample.status == 200 for sample in samples)  # CPU time was spent on the warm-up too
    # Requests answered in the window count for the rate; requests due in it count for the latencies.
    served = sum(begin <= sample.done < end for sample in samples if sample.status == 200)
    due = [sample for sample in samples if sample.due >= begin]
    latency = [1e3 * (sample.done - sample.due) for sample in due if sample.status == 200]
    refusal = [1e3 * (sample.done - sample.due) for sample in due if sample.status in REFUSED]
    p50, p95, p99 = percentiles(latency, 50, 95, 99)
    refusal_p50, refusal_p99 = percentiles(refusal, 50, 99)
    return Measurement(
        system=system,
        model=model,
        mode="closed" if plan.clients is not None else "offered",
        level=float(plan.clients if plan.clients is not None else plan.rate or 0.0),
        seconds=plan.seconds,
        served=served,
        refused=len(refusal),
        failed=sum(sample.status not in (200, *REFUSED) for sample in due),
        clips_s=served / plan.seconds,
        p50=p50,
        p95=p95,
        p99=p99,
        refusal_p50=refusal_p50,
        refusal_p99=refusal_p99,
        cpu_ms={role: 1e3 * seconds / max(1, everything) for role, seconds in cpu.used().items()},
        generator_ms=1e3 * generator_s / max(1, everything),
    )


def children(pid: int) -> list[int]:
    """Process ids of the direct children."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        pass
    return found


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    return [pid, *(below for child in children(pid) for below in tree(child))]


def roles(pid: int) -> dict[str, list[int]]:
    """The processes under `anysound serve`, by role: worker, API processes, decoders."""
    found: dict[str, list[int]] = {"worker": [], "api": [], "decode": []}
    for child in children(pid):
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"service.worker\0" in command:
            found["worker"].append(child)
        elif b"service.api.server" in command:
            found["api"].append(child)
            found["decode"] += tree(child)[1:]
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that processes have used."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / CLOCK_HZ
    return total


def resident_mib(pids: Iterable[int]) -> float:
    """Anonymous memory of processes, with shared pages counted once (proportional set size).

    File pages, mostly libraries, are excluded: their share grows when an unrelated program ends.
    """
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return total / 1024


def wait_until(condition: Callable[[], object], what: str, seconds: float = 300.0) -> None:
    """Poll `condition()` until it is true. Raises TimeoutError naming `what`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.1)
