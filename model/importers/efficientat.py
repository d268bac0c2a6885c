"""EfficientAT's MobileNets (mn04_as.pt to mn40_as.pt), as audio encoders to train a CLAP from."""

from __future__ import annotations

from pathlib import Path

from model.config import FrontEndConfig, MobileNetConfig
from model.front_end import mel_matrix
from model.importers import text, tower
from model.importers.imported import Imported
from model.importers.weights import Leftovers, read_pickle

# Schmid et al. 2023, and the released preprocessing: Kaldi's mel bank on a pre-emphasised signal.
FRONT_END = FrontEndConfig(
    sample_rate=32_000,
    n_fft=1024,
    window_length=800,
    hop_length=320,
    mel_bins=128,
    f_min=0.0,
    f_max=15_000.0,
    mel_scale="kaldi",
    periodic_window=False,
    pre_emphasis=0.97,
    log="natural",
    log_floor=1e-5,
    mean=-4.5,
    scale=5.0,
    padding="zero",
)


def load(path: Path, name: str | None) -> Imported:
    """Read a released file. Raises CheckpointError naming the key that does not fit."""
    weights = read_pickle(path)
    hidden, _ = text.rows_and_columns(weights, "classifier.2.weight")
    classes, _ = text.rows_and_columns(weights, "classifier.5.weight")
    # The hidden layer of the head is 1280 x width wide.
    return tower.load(
        weights,
        name or path.stem,
        FRONT_END,
        MobileNetConfig(width=hidden / 1280, classes=classes),
        lambda key: key.removeprefix(tower.AUDIO),
        {f"{tower.AUDIO}logmel_extractor.melW": mel_matrix(FRONT_END)},
        Leftovers(),
        "MIT",
    )
