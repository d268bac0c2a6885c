"""Parts d and e: training steps on a device: CNN14 with BERT base, and the bundled checkpoint's student."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.models import CNN14, config
from benchmarks.gpu.part import Part, of_arguments
from benchmarks.gpu.speed import matmul_peak, seconds_of, synchronise
from model.audio import load
from model.checkpoint import read_config
from model.clap import AudioEncoder, Clap
from model.config import TextEncoderConfig
from model.windows import pad
from training.data.loader import Batch
from training.loop.accumulate import accumulate
from training.loop.loss import ContrastiveLoss
from training.loop.towers import Towers

BERT_BASE = TextEncoderConfig(
    architecture={
        "model_type": "bert",
        "vocab_size": 30_522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3_072,
    }
)
TOKENS = 32
"""Length of a caption, in tokens; AudioCaps' have half of it."""


def made_up(batch: int, samples: int, vocabulary: int, device: torch.device) -> Batch:
    """A batch of noise and of random tokens: the time of a step does not depend on them."""
    ids = torch.randint(5, vocabulary, (batch, TOKENS), device=device)
    numbers = torch.arange(batch, device=device)
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return Batch(torch.randn(batch, samples, device=device) * 0.1, tokens, numbers, numbers, ("",) * batch, {})


def contrastive(part: Part, peak: float, ends: float) -> None:
    """Steps of CNN14 and BERT base in bfloat16, with and without gradients accumulated over chunks."""
    device = torch.device(part.device)
    carried = read_config(part.pack / "models" / "bundled").text_encoder
    text = carried if part.quick else BERT_BASE
    assert text.architecture is not None
    clap = Clap(config(CNN14, text, part.quick)).to(device)
    towers = Towers(clap).train()
    optimiser = torch.optim.Adam([each for each in towers.parameters() if each.requires_grad], lr=1e-5)
    length, words = clap.config.front_end.window_samples, text.architecture["vocab_size"]

    def step(batch: Batch, chunks: int) -> None:
        accumulate(towers, batch, ContrastiveLoss(), lambda chunk: chunk, chunks, torch.bfloat16)
        optimiser.step()
        optimiser.zero_grad()

    few = made_up(2, length, words, device)
    with FlopCounterMode(display=False) as counter:
        step(few, 1)
    flops = counter.get_total_flops() / len(few)
    part.note("operations per pair, forward and backward", f"{flops / 1e9:.1f} GFLOP")
    for size, chunks in ((4, 1), (4, 2)) if part.quick else ((128, 1), (128, 4), (512, 1), (512, 4)):
        if time.monotonic() > ends:
            return
        with part.guard(f"batch {size}, {chunks} chunks"):
            batch = made_up(size, length, words, device)
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            seconds = seconds_of(partial(step, batch, chunks), device, 0.01 if part.quick else 2.0)
            memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
            # Accumulating runs each forward pass twice; the share counts it once.
            share = flops * size / seconds / peak
            value = f"{size / seconds:.0f} pairs/s, {share:.1%} of the peak, {memory:.1f} GiB"
            part.note(
                f"CNN14 + {text.architecture['num_hidden_layers']} text layers, batch {size}, {chunks} chunks", value
            )


def loader(part: Part) -> None:
    """CPU time that reading a training window takes, and so the cores that feed a device."""
    front_end = read_config(part.pack / "models" / "bundled").front_end
    clips = [path for path in sorted((part.pack / "recordings").iterdir()) if path.suffix == ".wav"]
    began, count = time.process_time(), 0
    while time.process_time() - began < (0.1 if part.quick else 2.0):
        samples = load(Path(clips[count % len(clips)]), front_end.sample_rate)
        pad(samples[: front_end.window_samples], front_end.window_samples, front_end.padding)
        count += 1
    part.note(
        "loader", f"{1e3 * (time.process_time() - began) / count:.2f} ms of CPU per window of 5 s (WAV, 44.1 kHz)"
    )


def student(part: Part) -> None:
    """Steps of the bundled checkpoint's audio encoder toward fixed embeddings, in bfloat16."""
    device = torch.device(part.device)
    clap = read_config(part.pack / "models" / "bundled")
    encoder = AudioEncoder(clap).to(device).train()
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=1e-4)
    for size in (4,) if part.quick else (64, 256, 1_024):
        with part.guard(f"student, batch {size}"):
            windows = torch.randn(size, clap.front_end.window_samples, device=device) * 0.1
            targets = torch.nn.functional.normalize(torch.randn(size, clap.joint_dim, device=device), dim=-1)

            def step(windows: torch.Tensor = windows, targets: torch.Tensor = targets) -> None:
                with torch.autocast(device.type, torch.bfloat16):
                    embedded = encoder(windows)
                loss = 1 - torch.nn.functional.cosine_similarity(embedded.float(), targets).mean()
                loss.backward()
                optimiser.step()
                optimiser.zero_grad()

            seconds = seconds_of(step, device, 0.01 if part.quick else 2.0)
            part.note(f"student, batch {size}", f"{size / seconds:.0f} windows/s")


def main() -> None:
    part = of_arguments("learning")
    ends = time.monotonic() + 0.7 * part.seconds
    device = torch.device(part.device)
    peak = matmul_peak(part, device, torch.bfloat16)
    synchronise(device)
    with part.guard("contrastive training"):
        contrastive(part, peak, ends)
    with part.guard("loader"):
        loader(part)
    with part.guard("student"):
        student(part)


if __name__ == "__main__":
    main()
