"""Recordings to train on: JSON-lines manifests, and one array for each that holds every decoded waveform."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.audio import AudioError, Limits, load

log = logging.getLogger(__name__)

Samples = npt.NDArray[np.int16]
SAMPLES, EDGES, ROWS = "samples.int16", "edges.npy", "rows.json"
COLLECTION = re.compile(r"(?:[^(:]|\([^)]*\)|:(?! ))*")
# Sampling weight of a recording without a label: that of one of eleven recordings with the same label.
UNNAMED = 0.3


@dataclass(frozen=True)
class Recording:
    """One line of a manifest. `labels` may be empty: a tagger then says what is heard."""

    path: Path
    caption: str
    labels: tuple[str, ...]
    source: str
    licence: str

    @property
    def collection(self) -> str:
        """The source without the path that some manifests append after a colon."""
        match = COLLECTION.match(self.source)
        return match[0] if match else self.source


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
    """Every recording of a manifest decoded once, mono int16 at one sample rate, end to end in a memory-mapped file.

    `samples(i)` is a view, so that many processes share one copy in the page cache. `rows[i]` holds `caption`, `label`
    (the first one, or nothing) and `collection`.
    """

    def __init__(self, folder: Path) -> None:
        self._samples = np.memmap(folder / SAMPLES, np.int16, "r")
        self._edges = np.load(folder / EDGES)
        self.rows: list[dict[str, str]] = json.loads((folder / ROWS).read_text(encoding="utf-8"))

    def __len__(self) -> int:
        return len(self.rows)

    def samples(self, index: int) -> Samples:
        view: Samples = self._samples[self._edges[index] : self._edges[index + 1]]
        return view

    @staticmethod
    def exists(folder: Path) -> bool:
        return (folder / ROWS).exists()

    @staticmethod
    def build(recordings: Sequence[Recording], folder: Path, sample_rate: int, max_seconds: float = 30.0) -> None:
        """Decode `recordings` into `folder`; a broken or silent file is logged or counted and left out."""
        folder.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, str]] = []
        edges = [0]
        broken = 0
        with (folder / SAMPLES).open("wb") as file:
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
                # One scale for all: the mixture sets the level anyway.
                scaled = waveform[: round(max_seconds * sample_rate)] * (0.9 / peak)
                file.write((scaled * 32767.0).astype(np.int16).tobytes())
                edges.append(edges[-1] + len(scaled))
                label = recording.labels[0] if recording.labels else ""
                rows.append({"caption": recording.caption, "label": label, "collection": recording.collection})
        np.save(folder / EDGES, np.array(edges))
        (folder / ROWS).write_text(json.dumps(rows), encoding="utf-8")
        log.info("%d recordings, %.1f h, %d broken", len(rows), edges[-1] / sample_rate / 3600, broken)


class Recordings:
    """The recordings of some stores, without the held-out collections (or only those, with `held_out_only`)."""

    def __init__(self, folders: Sequence[Path], held_out: Sequence[str], held_out_only: bool = False) -> None:
        self._stores = [WaveformStore(folder) for folder in folders]
        self._places = [
            (store, index)
            for store in self._stores
            for index, row in enumerate(store.rows)
            if (row["collection"] in held_out) == held_out_only
        ]
        self.rows = [store.rows[index] for store, index in self._places]

    def __len__(self) -> int:
        return len(self._places)

    def samples(self, index: int) -> Samples:
        store, row = self._places[index]
        return store.samples(row)

    def weights(self) -> npt.NDArray[np.float64]:
        """Sampling weights [n], of sum 1: recordings of a frequent label weigh less, by the root of its count."""
        counts = Counter(row["label"] for row in self.rows)
        weight: npt.NDArray[np.float64] = np.array(
            [counts[row["label"]] ** -0.5 if row["label"] else UNNAMED for row in self.rows]
        )
        weight /= weight.sum()
        return weight
