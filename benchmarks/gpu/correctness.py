"""Part a: what a device computes, against the CPU in float32: precision, batch size, and from run to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from benchmarks.gpu.models import BUNDLED, CNN14, HTSAT, made
from benchmarks.gpu.part import Part, of_arguments
from model import parity
from model.audio import load
from model.engine import Engine
from model.native import Recording, ratio
from model.prompts import Embeddings, fill
from model.windows import Samples, cut, window_starts


def windows_of(engine: Engine, clips: list[Path]) -> list[Samples]:
    front_end = engine.info.config.front_end
    found: list[Samples] = []
    for clip in clips:
        samples = load(clip, front_end.sample_rate)
        found += list(cut(samples, front_end.window_samples, front_end.window_hop_samples, front_end.padding)[0])
    return found


def recordings_of(engine: Engine, clips: list[Path]) -> list[Recording]:
    """The clips as they were recorded, for the device to resample."""
    front_end = engine.info.config.front_end
    found = []
    for clip in clips:
        samples, rate = soundfile.read(clip, dtype="int16")
        relation = ratio(rate, front_end.sample_rate)
        if relation is None:
            continue
        length = relation.samples(len(samples))
        starts = window_starts(length, front_end.window_samples, front_end.window_hop_samples)
        found.append(Recording(samples, rate, starts, length))
    return found


def embedded(engine: Engine, windows: list[Samples], batch: int = 16) -> Embeddings:
    return np.concatenate([engine.embed_audio(windows[at : at + batch]) for at in range(0, len(windows), batch)])


def check(part: Part, kind: str, clips: list[Path]) -> None:
    folder = made(kind, part.pack, part.quick)
    exact = Engine(folder, "cpu", "float32")
    windows = windows_of(exact, clips)
    reference = embedded(exact, windows)
    prompts = exact.info.config.prompts
    named = exact.embed_text([fill(prompts.template, name) for name in parity.NAMES])
    background = exact.embed_text(list(prompts.background))

    def change(one: Embeddings, other: Embeddings) -> float:
        return parity.largest_change(one, other, named, background, exact.info.logit_scale)

    many = (windows * 64)[:64]
    for dtype, promised in (("float32", 1e-4), ("bfloat16", parity.PROMISED)):
        with part.guard(f"{kind}, {dtype}"):
            engine = Engine(folder, part.device, dtype)  # type: ignore[arg-type]
            device = embedded(engine, windows)
            part.most(f"{kind}, {dtype}: scores against the CPU in float32", change(reference, device), promised)
            crowd = engine.embed_audio(many)[:1]
            alone = engine.embed_audio(windows[:1])
            if dtype == "float32":
                part.most(f"{kind}, {dtype}: embeddings alone and in 64", float(np.abs(crowd - alone).max()), 1e-5)
            else:
                part.most(f"{kind}, {dtype}: scores alone and in 64", change(crowd, alone), promised)
            again = max(float(np.abs(embedded(engine, windows) - device).max()) for _ in range(2))
            part.most(f"{kind}, {dtype}: embeddings from run to run", again, 1e-6)
    with part.guard(f"{kind}: resampled on the device"):
        engine = Engine(folder, part.device, "float32")
        excerpts = [excerpt for recording in recordings_of(engine, clips) for excerpt in recording]
        resampled = engine.embed_audio(excerpts)
        part.most(f"{kind}: scores, resampled on the device", change(reference, resampled), 1e-4)
    with part.guard(f"{kind}: prompts"):
        text = engine.embed_text([fill(prompts.template, name) for name in parity.NAMES])
        part.most(f"{kind}: prompts against the CPU", float(np.abs(text - named).max()), 1e-4)
    with part.guard(f"{kind}: automatic precision"):
        part.note(f"{kind}: automatic precision", Engine(folder, part.device, "auto").dtype)


def main() -> None:
    part = of_arguments("correctness")
    clips = sorted((part.pack / "recordings").glob("*.wav"))
    for kind in (BUNDLED, CNN14, HTSAT):
        with part.guard(kind):
            check(part, kind, clips[:2] if part.quick else clips)


if __name__ == "__main__":
    main()
