"""Zero-shot evaluation against the bare encoder: `python -m benchmarks.evaluation [--clips 2000] [--encoder cnn14]`.

Five-second clips in ESC-50's layout and format (44.1 kHz, 16 bit), every one another, are read, hashed, resampled,
embedded, kept and scored. The bare encoder is given windows that lie in memory. Both take turns, so that whatever else
the machine does falls on both alike; resident memory is read after each turn. Processor time says what the clock can't
where others work beside it. The smaller the encoder, the more reading weighs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `anysound evaluate` does; read when torch is loaded

import numpy as np
import soundfile
from rich.console import Console

from evaluation.embeddings import encode
from evaluation.encoder import Encoder
from evaluation.store import Store
from evaluation.task import DataSet
from evaluation.tasks import TASKS
from evaluation.tasks.esc50 import CLASSES
from evaluation.zero_shot import zero_shot
from model.checkpoint import DEFAULT, Checkpoint, load
from model.clap import Clap
from model.config import Cnn14Config, FrontEndConfig, ProjectionConfig
from model.windows import Samples

RATE = 44_100
TURNS = 10
out = Console(markup=False, highlight=False)


def make_clips(root: Path, count: int) -> DataSet:
    """ESC-50 with noise for sound: `count` clips of 5 s over its 50 classes."""
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


def settle(encoder: Encoder, windows: Samples) -> None:
    """Let the encoder find its batch before anything is timed."""
    for _ in range(30):
        if encoder.batch.settled:
            return
        encoder(windows[: encoder.batch.size])


def with_cnn14(bundled: Checkpoint) -> Checkpoint:
    """The paper's audio encoder and front end, untrained: the arithmetic is the same."""
    update = {"name": "cnn14", "front_end": FrontEndConfig(), "audio_encoder": Cnn14Config()}
    config = bundled.config.model_copy(update=update | {"audio_projection": ProjectionConfig()})
    return Checkpoint(bundled.folder, config, Clap(config).eval(), bundled.tokenizer, "0" * 64)


@dataclass
class Cost:
    """Clips or windows a second by the clock, and processor milliseconds each."""

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
    checkpoint = load(DEFAULT) if arguments.encoder == "bundled" else with_cnn14(load(DEFAULT))
    encoder = Encoder(checkpoint)
    window = checkpoint.config.front_end.window_samples
    windows = (np.random.default_rng(1).standard_normal((64, window)) * 0.1).astype(np.float32)
    settle(encoder, windows)
    out.print(f"{checkpoint.config.name} on {encoder.device}, {encoder.precision}, batches of {encoder.batch.size}")
    ratios = []
    bare_all, evaluation_all = Cost(), Cost()
    with tempfile.TemporaryDirectory() as folder:
        data_set = make_clips(Path(folder) / "data", arguments.clips)
        part = len(data_set.clips) // TURNS
        with Store(Path(folder) / "cache", checkpoint.fingerprint, encoder.precision) as store:
            for turn in range(TURNS):
                clips = data_set.clips[turn * part : (turn + 1) * part]
                bare, evaluation = Cost(), Cost()
                for cost, count, work in (
                    (bare, part // 2, partial(repeat, encoder, windows, part // 2)),
                    (evaluation, part, partial(encode, encoder, clips, store)),
                    (bare, part - part // 2, partial(repeat, encoder, windows, part - part // 2)),
                ):
                    cost.add(count, work)
                bare_all, evaluation_all = bare_all + bare, evaluation_all + evaluation
                ratios.append(evaluation.pace / bare.pace)
                out.print(
                    f"{(turn + 1) * part} clips: {evaluation.pace:.1f} clips/s, bare {bare.pace:.1f} windows/s, "
                    f"ratio {ratios[-1]:.3f}, resident {resident_mib():.0f} MiB",
                    soft_wrap=True,
                )
            again = Cost()
            again.add(
                len(data_set.clips),
                lambda: zero_shot(checkpoint, data_set, encode(encoder, data_set.clips, store)),
            )
    out.print(
        f"ratio: median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})\n"
        f"processor time: {evaluation_all.milliseconds:.2f} ms a clip, bare {bare_all.milliseconds:.2f} ms a window, "
        f"ratio {bare_all.milliseconds / evaluation_all.milliseconds:.3f}\n"
        f"all {len(data_set.clips)} again, from the cache, and scored: {again.wall:.1f} s",
        soft_wrap=True,
    )


def repeat(encoder: Encoder, windows: Samples, count: int) -> None:
    """The encoder alone on `count` windows, in the batches it chose."""
    size = encoder.batch.size
    for start in range(0, count, size):
        encoder(windows[: min(size, count - start)])


if __name__ == "__main__":
    main()
