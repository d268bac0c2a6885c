"""Recordings to train on: JSON-lines manifests, and one array that holds every decoded waveform."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.audio import AudioError, Limits, load

log = logging.getLogger(__name__)

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Recording:
    """One line of a manifest. `labels` may be empty: a tagger then says what is heard."""

    path: Path
    caption: str
    labels: tuple[str, ...]
    source: str
    licence: str


def read_manifest(path: Path) -> Iterator[Recording]:
    """Yield the recordings of a JSON-lines manifest; `audio` is relative to the manifest's folder.

    Raises ValueError naming the line that lacks a member.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            row = json.loads(line)
            try:
                yield Recording(
                    path.parent / row["audio"],
                    row.get("caption", ""),
                    tuple(row.get("labels", ())),
                    row["source"],
                    row["licence"],
                )
            except KeyError as missing:
                raise ValueError(f"{path}:{number}: no {missing}") from None


class WaveformStore:
    """Every recording decoded once, mono int16 at one sample rate, end to end in a memory-mapped file.

    `samples(i)` is a view, so that many processes share one copy in the page cache.
    """

    def __init__(self, folder: Path) -> None:
        self._samples = np.load(folder / "samples.npy", mmap_mode="r")
        self._edges = np.load(folder / "edges.npy")
        self.labels: list[list[str]] = json.loads((folder / "labels.json").read_text())

    def __len__(self) -> int:
        return len(self._edges) - 1

    def samples(self, index: int) -> Samples:
        view: Samples = self._samples[self._edges[index] : self._edges[index + 1]]
        return view

    def weights(self) -> npt.NDArray[np.float64]:
        """Sampling weights [n]: recordings of a frequent first label weigh less, by the root of its count."""
        first = [labels[0] if labels else "" for labels in self.labels]
        counts = Counter(first)
        weight: npt.NDArray[np.float64] = np.array([counts[label] ** -0.5 for label in first])
        weight /= weight.sum()
        return weight

    @staticmethod
    def build(recordings: Sequence[Recording], folder: Path, sample_rate: int, max_seconds: float = 30.0) -> None:
        """Decode `recordings` into `folder`; a broken file is logged, counted and left out."""
        folder.mkdir(parents=True, exist_ok=True)
        pieces: list[Samples] = []
        labels: list[list[str]] = []
        broken = 0
        for recording in recordings:
            try:
                waveform = load(recording.path, sample_rate, Limits(max_seconds=3600.0))
            except (AudioError, OSError) as error:
                broken += 1
                log.warning("left out %s: %s", recording.path, error)
                continue
            peak = float(np.abs(waveform).max(initial=0.0))
            if peak < 1e-4:
                continue
            # One scale for all: the augmentation sets the level of each mixture anyway.
            scaled = waveform[: round(max_seconds * sample_rate)] * (0.9 / peak)
            pieces.append((scaled * 32767.0).astype(np.int16))
            labels.append(list(recording.labels))
        edges = np.cumsum([0, *(len(piece) for piece in pieces)])
        np.save(folder / "samples.npy", np.concatenate(pieces))
        np.save(folder / "edges.npy", edges)
        (folder / "labels.json").write_text(json.dumps(labels))
        log.info("%d recordings, %.1f h, %d broken", len(pieces), edges[-1] / sample_rate / 3600, broken)
