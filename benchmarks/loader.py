"""Whether the loader is the bottleneck: step time with data over step time on one batch in memory.

    python -m benchmarks.loader SOURCE

SOURCE is a manifest, or a folder of shards here or at a URL.

Short blocks of both take turns in one process, and the order changes from round to round: a machine that is busy for a
while slows both halves of a pair. Each round gives one ratio; their median and range are printed, with the share of the
step that was spent waiting for data. The first steps of a block are not counted: they live on what was read ahead.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in `anysound train`; torch reads it when it is loaded

import torch

from model.checkpoint import read_config
from model.clap import Clap
from model.config import BUNDLED, ClapConfig, Cnn14Config, FrontEndConfig, MobileNetConfig, TextEncoderConfig
from model.memory import keep_freed_memory
from model.text import Tokenizer, package_folder
from training.data.loader import Batch, Segments, batches, shards_of
from training.data.manifest import read_manifest
from training.data.sampler import Batches
from training.data.shards import read_shards
from training.loop.accumulate import accumulate
from training.loop.loss import ContrastiveLoss
from training.loop.optimiser import trained
from training.loop.towers import Towers

PREFETCH = 2


def towers(encoder: str, text: TextEncoderConfig) -> Towers:
    """The paper's front end with CNN14 or the compact encoder, and MiniLM."""
    audio = Cnn14Config(classes=None) if encoder == "cnn14" else MobileNetConfig()
    config = ClapConfig(name="benchmark", front_end=FrontEndConfig(), audio_encoder=audio, text_encoder=text)
    return Towers(Clap(config)).train()


def step(model: Towers, batch: Batch, optimiser: torch.optim.Optimizer) -> None:
    accumulate(model, batch, ContrastiveLoss(), lambda chunk: chunk)
    optimiser.step()
    optimiser.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description="Step time with data over step time on synthetic data.")
    parser.add_argument("source", help="a manifest, or a folder of shards, also at a URL such as s3://bucket/folder/")
    parser.add_argument("--encoder", choices=["cnn14", "mobilenet"], default="cnn14")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="measured steps per block")
    parser.add_argument("--rounds", type=int, default=8, help="pairs of blocks")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    keep_freed_memory()  # as `anysound train` does
    text = read_config(BUNDLED).text_encoder
    tokenizer = Tokenizer(package_folder(text), text.max_tokens)
    model = towers(arguments.encoder, text)
    optimiser = torch.optim.Adam(trained(model), lr=1e-5)
    listed = arguments.source.endswith((".jsonl", ".csv", ".tsv"))
    clips = read_manifest(Path(arguments.source)) if listed else read_shards(arguments.source)
    segments = Segments(clips, model.clap.config.front_end, seed=0)
    sampler = Batches(len(segments), arguments.batch, epochs=9, seed=0, shards=shards_of(segments))
    source = iter(batches(segments, sampler, tokenizer, arguments.workers, PREFETCH))
    held = itertools.repeat(next(source))
    # Enough steps to use up the batches read ahead, and to let the workers become idle again.
    settling = PREFETCH * max(arguments.workers, 1) + 1
    seconds: dict[str, list[float]] = {"data": [], "synthetic": []}
    waits: dict[str, list[float]] = {"data": [], "synthetic": []}
    ratios: list[float] = []
    for turn in range(arguments.rounds):
        for name in ("synthetic", "data") if turn % 2 == 0 else ("data", "synthetic"):
            stream = source if name == "data" else held
            for number in range(settling + arguments.steps):
                began = time.perf_counter()
                batch = next(stream)
                waited = time.perf_counter() - began
                step(model, batch, optimiser)
                if number >= settling:
                    seconds[name].append(time.perf_counter() - began)
                    waits[name].append(waited)
        with_data, synthetic = (statistics.median(values[-arguments.steps :]) for values in seconds.values())
        ratios.append(with_data / synthetic)
    share = sum(waits["data"]) / sum(seconds["data"])
    lines = (
        f"{arguments.encoder}, batch {arguments.batch}, {arguments.workers} workers, "
        f"{arguments.rounds} rounds of {arguments.steps} steps each",
        *(f"{name:<9}  {statistics.median(values):.3f} s per step" for name, values in seconds.items()),
        f"waiting    {share:.2%} of the step with data",
        f"ratio      {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f} over the rounds)",
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
