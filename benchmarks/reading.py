"""The CPU time of reading a clip: `python -m benchmarks.reading`.

CPU milliseconds for five seconds of noise at 44.1 kHz: the median of nine runs of some fifty milliseconds each, in one
thread. CPU time tolerates other load on the machine.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import soundfile
from rich.console import Console

from model.audio import read, resample

RATE = 44_100
TARGETS = (32_000, 48_000)
FORMATS = {
    "WAV, 16 bit": ("WAV", "PCM_16"),
    "WAV, 24 bit": ("WAV", "PCM_24"),
    "WAV, float": ("WAV", "FLOAT"),
    "FLAC": ("FLAC", "PCM_16"),
    "Ogg Vorbis": ("OGG", "VORBIS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}
out = Console(markup=False, highlight=False)


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of one call of `work`."""
    began = time.process_time()
    work()
    calls = max(1, round(0.05 / max(time.process_time() - began, 1e-5)))
    runs = []
    for _ in range(9):
        began = time.process_time()
        for _ in range(calls):
            work()
        runs.append((time.process_time() - began) / calls * 1e3)
    return statistics.median(runs)


def main() -> None:
    noise = (np.random.default_rng(0).standard_normal((RATE * 5, 2)) * 0.1).astype(np.float32)
    for name, (kind, subtype) in FORMATS.items():
        costs = []
        for channels in (1, 2):
            file = io.BytesIO()
            soundfile.write(file, noise[:, :channels], RATE, format=kind, subtype=subtype)
            costs.append(milliseconds(partial(read, file.getvalue())))
        out.print(f"{name}: mono {costs[0]:.2f} ms, stereo {costs[1]:.2f} ms")
    mono = noise[:, 0].copy()
    for target in TARGETS:
        out.print(f"to {target} Hz: {milliseconds(partial(resample, mono, RATE, target)):.2f} ms")


if __name__ == "__main__":
    main()
