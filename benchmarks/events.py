"""Where events are found: `python -m benchmarks.events ../shared/data/train/manifest.jsonl [--hop 0.5 --hop 1]`.

Files are made of 20 recordings each, at known times over pink noise 20 dB below them, with pauses of 3 to 8 s. The
recordings are of a manifest, or of a data set in the layout of ESC-50, and those that the model scores above the
threshold by themselves. The known times of a recording are those between which it is louder than the noise. Prints for
each hop how many are found, and the share of onsets and offsets, and of both, that are at most one hop away.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from model.audio import AudioError, Samples, load
from model.checkpoint import DEFAULT, Checkpoint
from model.checkpoint import load as load_checkpoint
from model.classify import LabelEmbeddings, LabelPrompts, clip_embedding
from model.embed import embed_prompts, embed_windows
from model.events import Event, find_events
from model.prompts import Label
from model.windows import cut, window_starts

LABELS = (
    *("dog bark", "siren", "baby crying", "car horn", "gun shot", "speech", "jackhammer", "drilling", "laser"),
    *("dog", "rooster", "crying_baby", "chainsaw", "helicopter", "sneezing", "clock_tick", "rain", "sea_waves"),
    "crackling_fire",
)
"""Labels of single sounds. Loops of ambience are left out: nobody can say when a pasture of cows begins."""
EXAMPLES = 20
LEVEL, NOISE_DB = 0.05, -20.0
PAUSES_S = (3.0, 8.0)
SHORTEST_S, LONGEST_S = 0.5, 8.0
THRESHOLD = 0.5
SMOOTH_S = 0.05


@dataclass(frozen=True)
class Known:
    """An example in a file: its label's row, and when it begins and ends."""

    label: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Scene:
    """A made file and its examples."""

    samples: Samples
    known: list[Known]


def recordings(source: Path) -> dict[str, list[Path]]:
    """The recordings of each label, from a JSON-lines manifest or a folder in ESC-50's layout."""
    found: dict[str, list[Path]] = defaultdict(list)
    if source.is_dir():
        with (source / "meta" / "esc50.csv").open() as file:
            for row in csv.DictReader(file):
                name = Path(row["filename"]).stem
                found[row["category"]] += sorted((source / "audio").glob(f"{name}.*"))
    else:
        for line in source.read_text().splitlines():
            row = json.loads(line)
            for label in row.get("labels") or ():
                found[label].append(source.parent / row["audio"])
    return {label: found[label] for label in LABELS if found[label]}


def audible(samples: Samples, rate: int) -> Samples:
    """The part between the first and the last moment that is louder than the noise will be."""
    count = round(SMOOTH_S * rate)
    energy = np.convolve(samples**2, np.ones(count) / count, "same")
    loud = np.flatnonzero(energy > np.mean(samples**2) * 10 ** (NOISE_DB / 10))
    return samples[loud[0] : loud[-1] + 1]


def pink(length: int, random: np.random.Generator) -> Samples:
    """Pink noise [length] at `NOISE_DB` below the examples."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, length)
    scaled: Samples = (noise * LEVEL * 10 ** (NOISE_DB / 20) / noise.std()).astype(np.float32)
    return scaled


class Model:
    """A checkpoint and its embeddings of the labels."""

    def __init__(self, checkpoint: Checkpoint, names: Sequence[str]) -> None:
        self.checkpoint = checkpoint
        prompts = checkpoint.config.prompts
        labels = LabelPrompts(
            tuple(Label(name.replace("_", " ")) for name in names), prompts.template, prompts.background
        )
        vectors = embed_prompts(checkpoint, labels.prompts)
        self.labels: LabelEmbeddings = labels.assemble(dict(zip(labels.prompts, vectors, strict=True)))

    def scores(self, windows: Samples, whole: bool = False) -> np.ndarray:
        """Sigmoid scores of each window, or of the clip that they make."""
        parts = [np.ascontiguousarray(windows[at : at + 32]) for at in range(0, len(windows), 32)]
        vectors = np.concatenate([embed_windows(self.checkpoint, part) for part in parts])
        audio = clip_embedding(vectors) if whole else vectors
        return self.labels.score(audio, self.checkpoint.logit_scale, "sigmoid").score


def examples(found: dict[str, list[Path]], model: Model, random: np.random.Generator) -> Iterator[tuple[int, Samples]]:
    """Recordings that the model hears by themselves, at the same level; labels in turn."""
    front_end = model.checkpoint.config.front_end
    names = list(found)
    left = {name: list(random.permutation(len(paths))) for name, paths in found.items()}
    while any(left.values()):
        for row in random.permutation(len(names)):
            if not left[names[row]]:
                continue
            path = found[names[row]][left[names[row]].pop()]
            try:
                samples = load(path, front_end.sample_rate)
            except (AudioError, OSError):
                continue
            if not samples.any():
                continue
            samples = audible(samples, front_end.sample_rate)[: round(LONGEST_S * front_end.sample_rate)]
            if len(samples) < SHORTEST_S * front_end.sample_rate:
                continue
            samples = samples * np.float32(LEVEL / np.sqrt(np.mean(samples**2)))
            windows, _ = cut(samples, front_end.window_samples, front_end.window_hop_samples, front_end.padding)
            if model.scores(windows, whole=True)[row] > THRESHOLD:
                yield int(row), samples


def scene(source: Iterator[tuple[int, Samples]], rate: int, random: np.random.Generator) -> Scene:
    """A file of 20 examples over noise."""
    known, placed = [], []
    at = round(random.uniform(*PAUSES_S) * rate)
    for row, samples in (next(source) for _ in range(EXAMPLES)):
        known.append(Known(row, at / rate, (at + len(samples)) / rate))
        placed.append((at, samples))
        at += len(samples) + round(random.uniform(*PAUSES_S) * rate)
    mixed = pink(at, random)
    for start, samples in placed:
        mixed[start : start + len(samples)] += samples
    return Scene(mixed, known)


def errors(known: Sequence[Known], events: Sequence[Event]) -> list[tuple[float, float]]:
    """The errors of onset and offset of each example that is found, by the event that covers it best."""
    found = []
    for each in known:
        touching = [
            event
            for event in events
            if event.label == each.label and event.start_s < each.end_s and event.end_s > each.start_s
        ]
        if touching:
            best = max(touching, key=lambda event: min(event.end_s, each.end_s) - max(event.start_s, each.start_s))
            found.append((best.start_s - each.start_s, best.end_s - each.end_s))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.events", description=__doc__)
    parser.add_argument("source", type=Path, help="a manifest, or a folder in ESC-50's layout")
    parser.add_argument("--files", type=int, default=3, help="files of 20 examples")
    parser.add_argument("--hop", type=float, action="append", help="in seconds; may be repeated")
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    found = recordings(options.source)
    model = Model(load_checkpoint(options.model), list(found))
    front_end = model.checkpoint.config.front_end
    rate, window = front_end.sample_rate, front_end.window_samples
    hops = sorted(options.hop or (0.5, 1.0, 2.5))
    random = np.random.default_rng(options.seed)
    source = examples(found, model, random)
    scenes = [scene(source, rate, random) for _ in range(options.files)]
    table = Table("hop", "found", "onsets", "offsets", "onsets and offsets", "both of an example", "median errors")
    for hop in hops:
        rows = []
        for each in scenes:
            starts = window_starts(len(each.samples), window, round(hop * rate))
            windows = np.lib.stride_tricks.sliding_window_view(each.samples, window)[starts]
            scores = model.scores(windows)
            events = list(
                find_events(
                    starts / rate, scores, [THRESHOLD] * len(found), window / rate, hop, len(each.samples) / rate
                )
            )
            rows += errors(each.known, events)
        within = np.abs(np.array(rows)) <= hop + 1e-6
        onset, offset = np.median(rows, axis=0)
        table.add_row(
            f"{hop:g} s",
            f"{len(rows)} of {EXAMPLES * options.files}",
            *(f"{share:.1%}" for share in (*within.mean(axis=0), within.mean(), within.all(axis=1).mean())),
            f"{onset:+.2f} s, {offset:+.2f} s",
        )
    Console(width=140).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
