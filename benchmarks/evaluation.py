"""Zero-shot evaluation against the bare encoder: `python -m benchmarks.evaluation [--clips 2000]`.

Five-second clips in ESC-50's layout and format (44.1 kHz, 16 bit), every one another, are read, hashed, resampled,
embedded, kept and scored. The bare encoder is given windows that lie in memory. Both take turns, so that whatever else
the machine does falls on both alike; resident memory is read after each turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
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
from model.checkpoint import DEFAULT, load

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


def settle(encoder: Encoder, windows: np.ndarray) -> None:
    """Let the encoder find its batch before anything is timed."""
    for _ in range(30):
        if encoder.batch.settled:
            return
        encoder(windows[: encoder.batch.size])


def main() -> None:
    parser = argparse.ArgumentParser(description="Zero-shot evaluation against the bare encoder.")
    parser.add_argument("--clips", type=int, default=2_000)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    arguments = parser.parse_args()
    checkpoint = load(arguments.model)
    encoder = Encoder(checkpoint)
    window = checkpoint.config.front_end.window_samples
    windows = (np.random.default_rng(1).standard_normal((128, window)) * 0.1).astype(np.float32)
    settle(encoder, windows)
    out.print(f"{checkpoint.config.name} on {encoder.device}, {encoder.precision}, batches of {encoder.batch.size}")
    ratios, paces = [], []
    with tempfile.TemporaryDirectory() as folder:
        data_set = make_clips(Path(folder) / "data", arguments.clips)
        with Store(Path(folder) / "cache", checkpoint.fingerprint, encoder.precision) as store:
            part = len(data_set.clips) // TURNS
            before = bare_pace(encoder, windows)
            for turn in range(TURNS):
                clips = data_set.clips[turn * part : (turn + 1) * part]
                began = time.perf_counter()
                encoded = encode(encoder, clips, store)
                pace = len(clips) / (time.perf_counter() - began)
                after = bare_pace(encoder, windows)
                ratios.append(pace / statistics.mean((before, after)))
                paces.append(pace)
                out.print(
                    f"{(turn + 1) * part} clips: {pace:.1f} clips/s, bare {before:.1f} and {after:.1f} windows/s, "
                    f"ratio {ratios[-1]:.3f}, {encoded.computed} embedded, resident {resident_mib():.0f} MiB"
                )
                before = after
            began = time.perf_counter()
            zero_shot(checkpoint, data_set, encode(encoder, data_set.clips, store))
            scored = time.perf_counter() - began
    out.print(
        f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); "
        f"all {len(data_set.clips)} again from the cache and scored: {scored:.1f} s; resident {resident_mib():.0f} MiB"
    )


def bare_pace(encoder: Encoder, windows: np.ndarray) -> float:
    """Windows a second of the encoder alone."""
    began = time.perf_counter()
    encoder(windows)
    return len(windows) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
