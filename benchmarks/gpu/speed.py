"""Part c: how fast the forward pass is, what each way to run it gains, and what is left of it through HTTP."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bare import pace
from benchmarks.gpu.models import BUNDLED, CNN14, HTSAT, made
from benchmarks.gpu.part import Part, of_arguments
from benchmarks.load import Plan
from benchmarks.measurement import measure
from benchmarks.systems import anysound
from model.checkpoint import load
from model.clap import Clap
from model.engine import Engine
from model.folding import prepare

Forward = Callable[[Tensor], Tensor]
BATCHES = (16, 64, 256)
API_PROCESSES = (1, 2, 4, 8, 16)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device, at_least_s: float) -> float:
    """Seconds of one call of `work`: the best of three runs of about `at_least_s`."""
    work()
    synchronise(device)
    began = time.perf_counter()
    work()
    synchronise(device)
    calls = max(1, round(at_least_s / max(time.perf_counter() - began, 1e-6)))
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(calls):
            work()
        synchronise(device)
        best = min(best, (time.perf_counter() - began) / calls)
    return best


def matmul_peak(part: Part, device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product: what a model could reach at most."""
    size = 512 if part.quick or device.type == "cpu" else 8_192
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: left @ right, device, 0.02 if part.quick else 0.3)


def flops_of(clap: Clap, window: Tensor) -> float:
    """Floating-point operations of the audio encoder for one window. The spectrum's transform is not counted."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        clap.audio_encoder(window)
    return float(counter.get_total_flops())


def lowered(encoder: nn.Module, device: torch.device) -> Forward:
    def forward(windows: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            return encoder(windows)  # type: ignore[no-any-return]

    return forward


def graphed(forward: Forward, windows: Tensor) -> Forward:
    """The forward pass as a CUDA graph: one launch instead of hundreds."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward(windows)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = forward(windows)

    def replay(_: Tensor) -> Tensor:
        graph.replay()
        return out

    return replay


def forward_pass(part: Part, kind: str, peak: float) -> None:
    """Clips/s and share of the peak of each way to run the encoder in bfloat16, at each batch size."""
    device = torch.device(part.device)
    clap = load(made(kind, part.pack, part.quick), device).model
    length = clap.config.front_end.window_samples
    flops = flops_of(clap, torch.randn(1, length, device=device))
    part.note(f"{kind}: operations per window", f"{flops / 1e9:.2f} GFLOP")
    plain = copy.deepcopy(clap.audio_encoder)
    served = prepare(copy.deepcopy(clap.audio_encoder), torch.bfloat16)
    ways: dict[str, Forward] = {
        "as trained, autocast": lowered(plain, device),
        "as served (folded, channels last)": lowered(served, device),
    }
    batches = (2, 4) if part.quick else BATCHES
    for batch in batches:
        windows = torch.randn(batch, length, device=device) * 0.1
        for way in (*ways, "as served, CUDA graph", "as served, torch.compile"):
            with part.guard(f"{kind}, batch {batch}, {way}"):
                if way.endswith("CUDA graph"):
                    if device.type != "cuda":
                        continue
                    forward = graphed(ways["as served (folded, channels last)"], windows)
                elif way.endswith("torch.compile"):
                    if part.quick or device.type != "cuda" or batch != BATCHES[1]:
                        continue
                    forward = lowered(torch.compile(served), device)  # type: ignore[arg-type]
                else:
                    forward = ways[way]
                with torch.inference_mode():
                    seconds = seconds_of(partial(forward, windows), device, 0.02 if part.quick else 0.3)
                share = flops * batch / seconds / peak
                value = f"{batch / seconds:.0f} windows/s, {share:.1%} of the peak"
                part.note(f"{kind}, batch {batch}, {way}", value)


def in_flight(part: Part, kind: str) -> None:
    """One batch at a time through the engine, from host memory and back, against two."""
    engine = Engine(made(kind, part.pack, part.quick), part.device, "bfloat16")
    windows = [torch.randn(engine.window_samples).numpy() * 0.1 for _ in range(engine.batch_windows)]
    batch = 4 if part.quick else engine.batch_windows
    seconds = 0.1 if part.quick else 2.0
    one, two = (pace(engine.embed_audio, windows, batch, streams, seconds) for streams in (1, 2))
    value = f"{one.clips_s:.0f} and {two.clips_s:.0f} windows/s, ratio {two.clips_s / one.clips_s:.2f}"
    part.note(f"{kind}: one batch in flight and two", value)


def through_http(part: Part, kind: str, clips: list[Path], ends: float) -> None:
    """Clips/s, latency and CPU time of the service, by its number of API processes, beside the bare forward pass."""
    folder = made(kind, part.pack, part.quick)
    engine = Engine(folder, part.device, "bfloat16")
    windows = [torch.randn(engine.window_samples).numpy() * 0.1 for _ in range(engine.batch_windows)]
    batch = 4 if part.quick else engine.batch_windows
    bare = pace(engine.embed_audio, windows, batch, engine.streams, 0.1 if part.quick else 2.0)
    part.note(f"{kind}: bare, {engine.streams} batches of {batch} in flight", f"{bare.clips_s:.0f} clips/s")
    del engine
    best = 0.0
    for processes in (1, 2) if part.quick else API_PROCESSES:
        if time.monotonic() > ends:
            break
        with part.guard(f"{kind}, {processes} API processes"):
            flags = ["--device", part.device, "--dtype", "bfloat16", "--api-processes", str(processes)]
            flags += ["--decode-sandbox", "best-effort", "--max-queue-seconds", "6000"]
            log = part.out.with_suffix(f".{kind}-{processes}.log")
            with anysound(folder, log, *flags) as running:
                clients = 4 if part.quick else 32 * min(8, 1 + processes)
                level = {"seconds": 0.5 if part.quick else 4.0, "warm_up_s": 0.2 if part.quick else 1.5}
                plan = Plan(running.target, list(map(str, clips)), clients=clients, **level)  # type: ignore[arg-type]
                generators = 1 if part.quick else min(4, 1 + processes // 2)
                row = measure("anysound", kind, plan, running.processes, generators)
            best = max(best, row.clips_s / bare.clips_s)
            roles = ", ".join(f"{role} {value:.2f}" for role, value in row.cpu_ms.items())
            value = (
                f"{row.clips_s:.0f} clips/s ({row.clips_s / bare.clips_s:.2f} of bare), p50 {row.p50:.0f}, "
                f"p99 {row.p99:.0f} ms; CPU ms per clip: {roles}, generator {row.generator_ms:.2f}; "
                f"failed {row.failed}"
            )
            part.note(f"{kind}, {processes} API processes, {clients} clients", value, "none failed", row.failed == 0)
    wanted = kind == CNN14 and part.device != "cpu"
    part.note(
        f"{kind}: best clips/s over the bare model's", f"{best:.2f}", "0.80" if wanted else "",
        best >= 0.8 if wanted else None,
    )  # fmt: skip


def main() -> None:
    part = of_arguments("speed")
    ends = time.monotonic() + 0.9 * part.seconds
    device = torch.device(part.device)
    clips = sorted((part.pack / "recordings").glob("*.wav"))
    peaks = {}
    for dtype in (torch.float32, torch.bfloat16):
        with part.guard(f"peak of {dtype}"):
            peaks[dtype] = matmul_peak(part, device, dtype)
            part.note(f"matrix product, {str(dtype).rpartition('.')[2]}", f"{peaks[dtype] / 1e12:.1f} TFLOP/s")
    for kind, work in itertools.product((CNN14, HTSAT), (forward_pass, in_flight)):
        with part.guard(f"{kind}, {work.__name__}"):
            if work is forward_pass:
                forward_pass(part, kind, peaks[torch.bfloat16])
            else:
                in_flight(part, kind)
    for kind in (CNN14, BUNDLED):
        with part.guard(f"{kind} through HTTP"):
            through_http(part, kind, clips, ends)


if __name__ == "__main__":
    main()
