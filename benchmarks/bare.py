"""The limit: the service's own forward pass in a loop, without HTTP, decoding or scores around it.

`python -m benchmarks.bare --model DIR CLIP...` waits for lines `BATCH SECONDS` on standard input and answers each with
a line of JSON. It sleeps in between, so that it can stand beside the service in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from service.supervisor import THREADS

BATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Pace:
    """Of batches of one size: clips a second over all, and the median duration and processor time of a batch in ms."""

    batch: int
    clips_s: float
    p50: float
    cpu_ms: float


def pace(embed: Callable[[Sequence[Any]], Any], windows: Sequence[Any], batch: int, seconds: float) -> Pace:
    """Run batches for about so many seconds, at least three."""
    embed(windows[:batch])
    durations: list[float] = []
    cpu = time.process_time()
    while sum(durations) < seconds or len(durations) < 3:
        began = time.perf_counter()
        embed(windows[:batch])
        durations.append(time.perf_counter() - began)
    cpu = time.process_time() - cpu
    median = sorted(durations)[len(durations) // 2]
    clips = batch * len(durations)
    return Pace(batch, clips / sum(durations), 1e3 * median, 1e3 * cpu / clips)


class Bare:
    """The process, from outside."""

    def __init__(self, model: Path | None, clips: Sequence[str], dtype: str = "auto") -> None:
        command = [sys.executable, "-m", "benchmarks.bare", "--dtype", dtype]
        command += [] if model is None else ["--model", str(model)]
        self._process = subprocess.Popen(
            [*command, *clips],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **THREADS},  # as the worker has it
        )
        self.dtype: str = json.loads(self._answer())

    def __enter__(self) -> Bare:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def pace(self, batch: int, seconds: float) -> Pace:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{batch} {seconds}\n")
        self._process.stdin.flush()
        return Pace(**json.loads(self._answer()))

    def best(self, seconds: float) -> Pace:
        """At the batch size with the most clips a second."""
        return max((self.pace(batch, seconds) for batch in BATCHES), key=lambda pace: pace.clips_s)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the bare model ended")
        return line


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("clips", nargs="+", type=Path)
    options = parser.parse_args()

    from model.audio import load
    from model.checkpoint import DEFAULT
    from model.windows import cut
    from service.devices import devices
    from service.engine import Engine

    engine = Engine(options.model or DEFAULT, devices("auto")[0], options.dtype)
    front_end = engine.info.config.front_end
    windows = []
    for clip in options.clips:
        samples = load(clip.read_bytes(), front_end.sample_rate)
        cuts, _ = cut(samples, front_end.window_samples, front_end.window_hop_samples, front_end.padding)
        windows.append(cuts[0])
    while len(windows) < max(BATCHES):
        windows += windows
    print(json.dumps(engine.dtype), flush=True)
    for line in sys.stdin:
        batch, seconds = line.split()
        print(json.dumps(vars(pace(engine.embed_audio, windows, int(batch), float(seconds)))), flush=True)


if __name__ == "__main__":
    main()
