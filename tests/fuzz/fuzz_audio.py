"""Mutated clips of every format: whatever comes, `read` gives a waveform or an AudioError, and in time.

python -m tests.fuzz.fuzz_audio --inputs 10000 --seed 1
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from model.audio import AudioError, Limits, read
from tests.model.audio.clips import FORMATS, RATES, tone

SECONDS = 1.0
"""Longest time that one input may take."""


def mutate(clip: bytes, rng: np.random.Generator, donor: bytes) -> bytes:
    """One to eight edits: bits flipped, bytes overwritten, removed, repeated, or taken from another format."""
    out = bytearray(clip)
    for _ in range(rng.integers(1, 9)):
        # Half of the edits fall into the header.
        at = int(rng.integers(min(len(out), 512) if rng.random() < 0.5 else len(out)))
        size = int(rng.integers(1, 65))
        match rng.integers(6):
            case 0:
                out[at] ^= 1 << rng.integers(8)
            case 1:
                out[at : at + size] = rng.bytes(size)
            case 2:
                out[at : at + 4] = rng.choice([b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
            case 3:
                del out[at : at + size]
            case 4:
                out[at:at] = out[at : at + size]
            case _:
                start = int(rng.integers(len(donor)))
                out[at : at + size] = donor[start : start + size]
        if not out:
            return b""
    return bytes(out[: rng.integers(len(out) + 1)] if rng.random() < 0.2 else out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failure.bin"), help="where a failing input is written")
    arguments = parser.parse_args()

    rng = np.random.default_rng(arguments.seed)
    seeds = [make(tone(0.2, RATES.get(name, 44_100)), RATES.get(name, 44_100)) for name, make in FORMATS.items()]
    results: Counter[str] = Counter()
    slowest = 0.0
    for _ in range(arguments.inputs):
        clip = mutate(seeds[rng.integers(len(seeds))], rng, seeds[rng.integers(len(seeds))])
        arguments.keep.write_bytes(clip)  # written before, because a decoder may take the process with it
        began = time.perf_counter()
        try:
            read(clip, Limits(max_seconds=60.0))
            results["read"] += 1
        except AudioError as error:
            results[error.reason] += 1
        slowest = max(slowest, time.perf_counter() - began)
        if slowest > SECONDS:
            sys.exit(f"{slowest:.2f} s for one input, kept in {arguments.keep}")
    arguments.keep.unlink(missing_ok=True)
    counts = ", ".join(f"{reason} {count}" for reason, count in results.most_common())
    sys.stdout.write(f"{arguments.inputs} inputs, slowest {slowest * 1e3:.0f} ms: {counts}\n")


if __name__ == "__main__":
    main()
