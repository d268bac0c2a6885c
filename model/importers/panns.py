"""PANNs' CNN14 (Cnn14_mAP=0.431.pth, Cnn14_16k_mAP=0.438.pth): an audio encoder to train a CLAP from."""

from __future__ import annotations

from pathlib import Path

from model.checkpoint import CheckpointError
from model.config import Cnn14Config, FrontEndConfig
from model.importers import text, torchlibrosa, tower
from model.importers.imported import Imported
from model.importers.weights import Leftovers, read_pickle

MEL = "logmel_extractor.melW"
FRONT_ENDS = {
    513: FrontEndConfig(sample_rate=32_000),
    257: FrontEndConfig(sample_rate=16_000, n_fft=512, window_length=512, hop_length=160),
}
"""Front ends by the rows of the mel matrix: the 32 kHz and the 16 kHz release."""


def load(path: Path, name: str | None) -> Imported:
    """Raises CheckpointError naming the key that does not fit."""
    weights = read_pickle(path, "model").without_prefix("module.")
    rows, _ = text.rows_and_columns(weights, MEL)
    if rows not in FRONT_ENDS:
        raise CheckpointError(f"{path}: {MEL} has {rows} rows; CNN14 was released with 513 and 257")
    asked = FRONT_ENDS[rows]
    front_end, band = torchlibrosa.front_end(weights, MEL, asked, (asked.sample_rate,))
    return tower.load(
        weights,
        name or path.stem,
        front_end,
        Cnn14Config(
            embedding_dim=text.rows_and_columns(weights, "fc1.weight")[0],
            classes=text.rows_and_columns(weights, "fc_audioset.weight")[0],
        ),
        lambda key: key.removeprefix(tower.AUDIO),
        {},
        Leftovers(torchlibrosa.fourier_kernels("spectrogram_extractor.", front_end.n_fft)),
        "Apache-2.0 (code), CC BY 4.0 (weights)",
        (band,),
    )
