"""Size, speed and memory of each CLAP architecture that can be served: `python -m benchmarks.checkpoints`.

Weights are random, because speed does not depend on them; nothing is downloaded. Each architecture is measured in a
process of its own. Audio is computed as a worker does on a CPU: front end and encoder, batch norms folded, channels
last, float32, one thread. CPU time is what counts: it tolerates other load on the machine, wall time does not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # set before torch is loaded

import torch
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.measurement import resident_mib
from model.checkpoint import DEFAULT, read_config
from model.clap import Clap
from model.config import ClapConfig
from model.folding import prepare
from model.memory import keep_freed_memory
from training.recipe import RECIPES

BATCHES = (1, 4, 8)
ROUNDS = 5
PROMPTS, TOKENS = 16, 16


def recipe(name: str) -> ClapConfig:
    """The checkpoint of one of the project's recipes."""
    return ClapConfig.model_validate(yaml.safe_load((RECIPES / f"{name}.yaml").read_text())["checkpoint"])


def htsat(**changes: object) -> ClapConfig:
    """LAION's CLAP with another audio encoder."""
    config = recipe("htsat-roberta")
    encoder = type(config.audio_encoder).model_validate(config.audio_encoder.model_dump() | changes)
    return config.model_copy(update={"audio_encoder": encoder})


ARCHITECTURES: dict[str, Callable[[], ClapConfig]] = {
    "bundled": lambda: read_config(DEFAULT),
    "MobileNet 0.4, MiniLM": lambda: recipe("compact-pretrained"),
    "CNN14, BERT": lambda: recipe("paper"),
    "HTSAT tiny, GPT-2": lambda: recipe("htsat-gpt2"),
    "HTSAT tiny, RoBERTa": htsat,
    "HTSAT tiny fused, RoBERTa": lambda: htsat(fused=True),
    "HTSAT base, RoBERTa": lambda: htsat(width=128, stage_depths=(2, 2, 12, 2)),
}


def cpu_s(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median CPU time of `work` in seconds, without the first time."""
    times = []
    for _ in range(rounds + 1):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return statistics.median(times[1:])


def measured(config: ClapConfig) -> dict[str, float]:
    """Parameters, CPU time per window and prompt, and resident memory of this process with the model at work."""
    keep_freed_memory()  # as the worker does
    torch.set_num_threads(1)
    torch.manual_seed(0)
    clap = Clap(config).eval().requires_grad_(False)
    parameters = {
        "audio": sum(each.numel() for each in clap.audio_encoder.parameters()),
        "text": sum(each.numel() for each in clap.caption_encoder.parameters()),
    }
    prepare(clap.audio_encoder, torch.float32)
    windows = 0.1 * torch.randn(max(BATCHES), config.front_end.window_samples)
    ids = torch.randint(5, 1000, (PROMPTS, TOKENS))
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.inference_mode():
        one, *more = (cpu_s(partial(clap.embed_audio, windows[:size])) / size for size in BATCHES)
        prompt = cpu_s(lambda: clap.embed_text(tokens)) / PROMPTS
    return {
        "audio_m": parameters["audio"] / 1e6,
        "text_m": parameters["text"] / 1e6,
        "rate": config.front_end.sample_rate,
        "window_s": config.front_end.window_s,
        "one_ms": 1e3 * one,
        "best_ms": 1e3 * min(one, *more),
        "prompt_ms": 1e3 * prompt,
        "resident_mib": resident_mib([os.getpid()]),
    }


def processor() -> str:
    """The processor's name, as the kernel has it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoints", description=__doc__)
    parser.add_argument("--only", choices=ARCHITECTURES, help="measure one, in this process, and print JSON")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measured(ARCHITECTURES[options.only]())))
        return
    columns = ("parameters M, audio + text", "rate, window", "ms of one window", "windows/s per core")
    table = Table("", *columns, "audio s/s per core", "ms per new prompt", "MiB", title=f"{processor()}, one thread")
    for name in ARCHITECTURES:
        command = [sys.executable, "-m", "benchmarks.checkpoints", "--only", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        table.add_row(
            name,
            f"{found['audio_m']:.1f} + {found['text_m']:.1f}",
            f"{found['rate'] / 1000:g} kHz, {found['window_s']:g} s",
            f"{found['one_ms']:.1f}",
            f"{1e3 / found['best_ms']:.1f}",
            f"{1e3 * found['window_s'] / found['best_ms']:.0f}",
            f"{found['prompt_ms']:.1f}",
            f"{found['resident_mib']:.0f}",
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
