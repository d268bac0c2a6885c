"""Zero-shot evaluation against the bare encoder: `python -m benchmarks.evaluation [--clips 2000] [--encoder cnn14]`.

Evaluation reads, hashes, resamples, embeds, caches and scores different clips of 5 s in ESC-50's layout and format
(44.1 kHz, 16 bit). The bare encoder gets windows from memory, in two ways: one call at a time with its best batch
size, as a script does it, and as many batches at once as evaluation runs. All three take turns, so that other load on
the machine affects each alike; resident memory is read after each turn. CPU time tolerates other load; wall time does
not. The smaller the encoder, the more reading matters, so the CPU time per clip is also printed by step.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in `anysound evaluate`; torch reads it when it is loaded

import numpy as np
import soundfile
from rich.console import Console

from evaluation.embeddings import encode
from evaluation.encoder import BatchSize, Encoder
from evaluation.store import Store
from evaluation.task import Clip, DataSet
from evaluation.tasks import TASKS
from evaluation.tasks.esc50 import CLASSES
from evaluation.zero_shot import zero_shot
from model.audio import read, resample
from model.checkpoint import DEFAULT, Checkpoint, load
from model.clap import Clap
from model.config import Cnn14Config, FrontEndConfig, ProjectionConfig
from model.memory import keep_freed_memory
from model.windows import Samples, cut

RATE = 44_100
TURNS = 10
PARTS = 200
STEPS = ("file", "hash", "decode", "resample", "cut")
out = Console(markup=False, highlight=False)


def make_clips(root: Path, count: int) -> DataSet:
    """Write a data set in the layout of ESC-50: `count` clips of 5 s of noise in 50 classes."""
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal(RATE * 5 + count) * 3_000).astype(np.int16)
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    for number in range(count):
        name = f"{number % 5 + 1}-{number}-A-{number % 50}.wav"
        rows.append(f"{name},{number % 5 + 1},{number % 50},{CLASSES[number % 50]},False,{number},A")
        soundfile.write(root / "audio" / name, noise[number : number + RATE * 5], RATE)
    (root / "meta/esc50.csv").write_text("\n".join(rows) + "\n")
    return TASKS["esc50"].open(root)


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def one_call(encoder: Encoder, windows: Samples, count: int) -> None:
    """The encoder alone on `count` windows, in its own batch size, one batch at a time."""
    size = encoder.batch.size
    for start in range(0, count, size):
        encoder(windows[: min(size, count - start)])


def at_once(encoder: Encoder, windows: Samples, count: int) -> None:
    """The encoder alone on `count` windows, with as many parallel batches as evaluation runs."""
    size = encoder.batch.size
    with encoder.running() as lanes:
        for _ in lanes.map(encoder, [windows[: min(size, count - start)] for start in range(0, count, size)]):
            pass


def with_cnn14(bundled: Checkpoint) -> Checkpoint:
    """The paper's audio encoder and front end, untrained: the speed is the same."""
    update = {"name": "cnn14", "front_end": FrontEndConfig(), "audio_encoder": Cnn14Config()}
    config = bundled.config.model_copy(update=update | {"audio_projection": ProjectionConfig()})
    return Checkpoint(bundled.folder, config, Clap(config).eval(), bundled.tokenizer, "0" * 64)


@dataclass
class Cost:
    """Clips or windows per second of wall time, and CPU milliseconds per clip or window."""

    count: int = 0
    wall: float = 0.0
    processor: float = 0.0

    def add(self, count: int, work: Callable[[], object]) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        work()
        self.count += count
        self.wall += time.perf_counter() - wall
        self.processor += time.process_time() - processor

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.count + other.count, self.wall + other.wall, self.processor + other.processor)

    @property
    def pace(self) -> float:
        return self.count / self.wall

    @property
    def milliseconds(self) -> float:
        return self.processor / self.count * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description="Zero-shot evaluation against the bare encoder.")
    parser.add_argument("--clips", type=int, default=2_000)
    parser.add_argument("--encoder", choices=("bundled", "cnn14"), default="bundled")
    arguments = parser.parse_args()
    keep_freed_memory()
    checkpoint = load(DEFAULT) if arguments.encoder == "bundled" else with_cnn14(load(DEFAULT))
    encoder = Encoder(checkpoint)
    window = checkpoint.config.front_end.window_samples
    windows = (np.random.default_rng(1).standard_normal((64, window)) * 0.1).astype(np.float32)
    alone = copy.copy(encoder)
    alone.lanes, alone.batch = 1, BatchSize(limit=32)
    for bare, one in ((at_once, encoder), (one_call, alone)):
        while not one.batch.settled:
            bare(one, windows, 4 * one.lanes * one.batch.size)
    out.print(
        f"{checkpoint.config.name} on {encoder.device}, {encoder.precision}, batches of {encoder.batch.size}, "
        f"{encoder.lanes} at once; one call: batches of {alone.batch.size}",
        soft_wrap=True,
    )
    costs = {name: Cost() for name in ("one call", "at once", "evaluation")}
    ratios: dict[str, list[float]] = {"one call": [], "at once": []}
    with tempfile.TemporaryDirectory() as folder:
        data_set = make_clips(Path(folder) / "data", arguments.clips)
        part = len(data_set.clips) // TURNS
        with Store(Path(folder) / "cache", checkpoint.fingerprint, encoder.precision) as store:
            for turn in range(TURNS):
                clips = data_set.clips[turn * part : (turn + 1) * part]
                here = {name: Cost() for name in costs}
                for name, count, work in (
                    ("one call", part // 2, partial(one_call, alone, windows, part // 2)),
                    ("at once", part // 2, partial(at_once, encoder, windows, part // 2)),
                    ("evaluation", part, partial(encode, encoder, clips, store)),
                    ("at once", part - part // 2, partial(at_once, encoder, windows, part - part // 2)),
                    ("one call", part - part // 2, partial(one_call, alone, windows, part - part // 2)),
                ):
                    here[name].add(count, work)
                costs = {name: cost + here[name] for name, cost in costs.items()}
                for name, values in ratios.items():
                    values.append(here["evaluation"].pace / here[name].pace)
                paces = ", ".join(f"{name} {cost.pace:.1f}/s" for name, cost in here.items())
                out.print(f"{(turn + 1) * part} clips: {paces}, resident {resident_mib():.0f} MiB", soft_wrap=True)
            again = Cost()
            again.add(
                len(data_set.clips),
                lambda: zero_shot(checkpoint, data_set, encode(encoder, data_set.clips, store)),
            )
        parts = by_part(data_set.clips[:PARTS], checkpoint.config.front_end)
    evaluation = costs["evaluation"].milliseconds
    for name, values in ratios.items():
        out.print(
            f"evaluation against the bare encoder, {name}: median {statistics.median(values):.3f} "
            f"({min(values):.3f} to {max(values):.3f}); CPU time {evaluation:.2f} ms per clip and "
            f"{costs[name].milliseconds:.2f} ms per window: {costs[name].milliseconds / evaluation:.3f}",
            soft_wrap=True,
        )
    out.print(f"CPU time per clip in one thread: {parts}", soft_wrap=True)
    out.print(f"all {len(data_set.clips)} again, from the cache, and scored: {again.wall:.1f} s")


def by_part(clips: Sequence[Clip], front_end: FrontEndConfig) -> str:
    """CPU milliseconds of each step before the encoder."""
    spent = np.zeros(len(STEPS))
    for clip in clips:
        marks = [time.process_time()]
        data = clip.path.read_bytes()
        marks.append(time.process_time())
        hashlib.sha256(data).digest()
        marks.append(time.process_time())
        waveform = read(data)
        marks.append(time.process_time())
        samples = resample(waveform.samples, waveform.rate, front_end.sample_rate)
        marks.append(time.process_time())
        cut(samples, front_end.window_samples, front_end.window_hop_samples, front_end.padding)
        marks.append(time.process_time())
        spent += np.diff(marks)
    return ", ".join(f"{name} {took / len(clips) * 1e3:.2f} ms" for name, took in zip(STEPS, spent, strict=True))


if __name__ == "__main__":
    main()
