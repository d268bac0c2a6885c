"""The gain of each step that makes the forward pass faster: `python -m benchmarks.forward --model DIR`.

All variants run in turns, so that other load on the machine affects all alike. Medians are printed, of wall time and of
the CPU time of one thread, which tolerates other load.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # set before torch is loaded

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from model.checkpoint import DEFAULT, load
from model.cores import cores
from model.folding import fold_batch_norms, prepare
from model.memory import keep_freed_memory

Forward = Callable[[Tensor], Tensor]


def variants(encoder: nn.Module, names: list[str]) -> dict[str, Forward]:
    """The encoder as trained, and after each step."""
    folded = copy.deepcopy(encoder)
    fold_batch_norms(folded)

    def lowered(prepared: nn.Module) -> Forward:
        def forward(windows: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return prepared(windows)  # type: ignore[no-any-return]

        return forward

    ready = prepare(copy.deepcopy(encoder), torch.float32)
    every: dict[str, Callable[[], Forward]] = {
        "as trained": lambda: encoder,
        "batch norms folded": lambda: folded,
        "+ channels last": lambda: ready,
        "as trained, bfloat16": lambda: lowered(encoder),
        "+ bfloat16": lambda: lowered(prepare(copy.deepcopy(encoder), torch.bfloat16)),
        "+ torch.compile": lambda: torch.compile(ready),
    }
    return {name: every[name]() for name in names}


NAMES = ["as trained", "batch norms folded", "+ channels last", "as trained, bfloat16", "+ bfloat16", "+ torch.compile"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forward", description=__doc__)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--batches", default="1,2,4,8,16,32")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--stock-allocator", action="store_true", help="return freed memory to the kernel")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile, which takes minutes")
    options = parser.parse_args()
    if not options.stock_allocator:
        keep_freed_memory()  # as the worker does
    torch.set_num_threads(options.threads)
    clap = load(options.model).model
    batches = list(map(int, options.batches.split(",")))
    generator = torch.Generator().manual_seed(0)
    windows = torch.randn(max(batches), clap.config.front_end.window_samples, generator=generator) * 0.1
    columns = [str(batch) for batch in batches]
    title = f"{clap.config.name}, {options.threads} threads, torch {torch.__version__}: ms per clip at each batch size"
    walls, cpus = Table(*["", *columns], title=title), Table(*["", *columns], title="CPU time, ms per clip")
    with torch.inference_mode():
        forwards = variants(clap.audio_encoder, NAMES if options.compile else NAMES[:-1])
        wall: dict[str, list[str]] = {name: [] for name in forwards}
        cpu: dict[str, list[str]] = {name: [] for name in forwards}
        for batch in batches:
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in forwards}
            for turn in range(options.rounds + 1):
                for name, forward in forwards.items():
                    began, used = time.perf_counter(), time.process_time()
                    forward(windows[:batch])
                    taken = (time.perf_counter() - began, time.process_time() - used)
                    if turn or name == "+ torch.compile":  # the first turn includes set-up
                        times[name].append(taken)
            for name, taken_each in times.items():
                wall[name].append(f"{1e3 * statistics.median(w for w, _ in taken_each) / batch:.2f}")
                cpu[name].append(f"{1e3 * statistics.median(c for _, c in taken_each) / batch:.2f}")
    for name in wall:
        walls.add_row(name, *wall[name])
        cpus.add_row(name, *cpu[name])
    console = Console()
    console.print(walls)
    console.print(cpus)


if __name__ == "__main__":
    main()
