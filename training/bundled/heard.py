"""The tagger's outputs for single recordings: the joint space and the text side are fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.windows import cut
from training.bundled.blocks import floats
from training.bundled.recordings import WaveformStore
from training.tagging.tagger import FRONT_END, Tagger

HEARD = "heard.npz"
TAGGED = 8
"""Windows in a batch of the tagger: larger batches do not fit into the CPU's cache."""


def first_window(samples: np.ndarray, length: int) -> Tensor:
    """The first `length` samples, int16; a shorter recording is padded as the tagger's front end says."""
    windows, _ = cut(samples[:length].astype(np.float32), length, length, FRONT_END.padding)
    return torch.from_numpy(windows[0]).short()


def listen(folder: Path, tagger: Tagger) -> None:
    """Write features [n, 384] and logits [n, 527] of the first window of every recording of a store into its folder."""
    if (folder / HEARD).exists():
        return
    store = WaveformStore(folder)
    features, logits = [], []
    for first in range(0, len(store), TAGGED):
        rows = range(first, min(first + TAGGED, len(store)))
        windows = torch.stack([first_window(store.samples(row), FRONT_END.window_samples) for row in rows])
        heard = tagger.tag(floats(windows))
        logits.append(heard[0])
        features.append(heard[1])
    partial = folder / f"partial-{HEARD}"
    np.savez(partial, features=torch.cat(features).numpy(), logits=torch.cat(logits).numpy())
    partial.rename(folder / HEARD)


def heard(folders: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Features and logits of some stores, end to end."""
    parts = [np.load(folder / HEARD) for folder in folders]
    features, logits = (
        torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in ("features", "logits")
    )
    return features, logits


@dataclass(frozen=True)
class Kept:
    """Recordings of some stores with the tagger's outputs for them."""

    rows: list[dict[str, str]]
    features: Tensor
    logits: Tensor

    @staticmethod
    def read(stores: Sequence[Path], held_out: Sequence[str], held_out_only: bool = False) -> Kept:
        rows = [row for store in stores for row in WaveformStore(store).rows]
        kept = [number for number, row in enumerate(rows) if (row["collection"] in held_out) == held_out_only]
        features, logits = heard(stores)
        return Kept([rows[number] for number in kept], features[kept], logits[kept])
