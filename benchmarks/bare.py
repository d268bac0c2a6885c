"""The upper bounds, in a process of their own: the bare model and the bare pipeline, each in a loop on all cores.

The bare model (`forward`) is the service's forward pass without HTTP, decoding or scores. The bare pipeline is
`benchmarks.pipeline`, from a file's bytes to its scores; it is named by the files' format, such as `wav` or `mp3`.

`python -m benchmarks.bare --model DIR CLIP...` waits for lines `WORK BATCH STREAMS SECONDS` on standard input and
answers each with a line of JSON. It sleeps in between, so that it can stand beside the service in one run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.labels import LABELS
from benchmarks.tuning import Tried, search
from model.memory import keep_freed_memory
from service.supervise.supervisor import worker_threads

BATCHES = (1, 4, 8, 16, 32, 64)
FIRST_BATCH = 8
PROBE_S, SEARCH_S = 0.5, 15.0
"""Duration of a probe of the search for the best batch, and of the whole search."""


@dataclass(frozen=True)
class Pace:
    """Batches of one size in `streams` parallel streams: clips per second in total, median ms per batch and CPU ms per
    clip."""

    batch: int
    streams: int
    clips_s: float
    p50: float
    cpu_ms: float


def pace(work: Callable[[Sequence[Any]], Any], clips: Sequence[Any], batch: int, streams: int, seconds: float) -> Pace:
    """Run batches of the first clips for about `seconds`, at least one in each stream."""

    def stream() -> list[float]:
        durations: list[float] = []
        while sum(durations) < seconds or not durations:
            began = time.perf_counter()
            work(clips[:batch])
            durations.append(time.perf_counter() - began)
        return durations

    work(clips[:batch])
    cpu = time.process_time()
    with ThreadPoolExecutor(streams) as threads:
        durations = [future.result() for future in [threads.submit(stream) for _ in range(streams)]]
    cpu = time.process_time() - cpu
    every = sorted(itertools.chain.from_iterable(durations))
    clips_s = sum(batch * len(each) / sum(each) for each in durations)
    return Pace(batch, streams, clips_s, 1e3 * every[len(every) // 2], 1e3 * cpu / (batch * len(every)))


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
            env={**os.environ, **worker_threads()},  # as the worker has it
        )
        about = json.loads(self._answer())
        self.dtype: str = about["dtype"]
        self.streams: int = about["streams"]

    def __enter__(self) -> Bare:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def pace(self, work: str, batch: int, streams: int, seconds: float) -> Pace:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{work} {batch} {streams} {seconds}\n")
        self._process.stdin.flush()
        return Pace(**json.loads(self._answer()))

    def tried(self, work: str) -> list[Tried]:
        """Search for the batch size and number of streams with the most clips per second."""
        workers = sorted({1, self.streams}, reverse=True)
        return search(
            lambda settings: self.pace(work, settings.batch, settings.workers, PROBE_S).clips_s,
            BATCHES, FIRST_BATCH, workers, SEARCH_S,
        )  # fmt: skip

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process of the bare model ended")
        return line


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("clips", nargs="+", type=Path)
    options = parser.parse_args()

    keep_freed_memory()  # as the worker does
    from benchmarks.pipeline import Pipeline
    from model.audio import load
    from model.checkpoint import DEFAULT
    from model.engine import Engine
    from model.windows import cut
    from service.supervise.devices import devices

    engine = Engine(options.model or DEFAULT, devices("auto")[0], options.dtype)
    front_end = engine.info.config.front_end
    works: dict[str, Callable[[Sequence[Any]], Any]] = {"forward": engine.embed_audio}
    clips: dict[str, list[Any]] = {"forward": []}
    for clip in options.clips:
        clips.setdefault(clip.suffix[1:], []).append(clip.read_bytes())
    for file in next(files for files in clips.values() if files):
        samples = load(file, front_end.sample_rate)
        cuts, _ = cut(samples, front_end.window_samples, front_end.window_hop_samples, front_end.padding)
        clips["forward"].append(cuts[0])
    for kind in clips:
        works.setdefault(kind, Pipeline(engine, LABELS).scores)
        clips[kind] *= -(-max(BATCHES) // len(clips[kind]))
    print(json.dumps({"dtype": engine.dtype, "streams": engine.streams}), flush=True)
    for line in sys.stdin:
        work, batch, streams, seconds = line.split()
        measured = pace(works[work], clips[work], int(batch), int(streams), float(seconds))
        print(json.dumps(vars(measured)), flush=True)


if __name__ == "__main__":
    main()
