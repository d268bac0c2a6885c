"""torchlibrosa's front end inside a state dict: its Fourier kernels, and the band of its mel matrix.

PANNs, msclap and laion_clap store both with their weights. What a file holds takes precedence over its config.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.checkpoint import CheckpointError
from model.config import FrontEndConfig
from model.front_end import mel_matrix
from model.importers.weights import Weights, rounding

BANDS = (8_000.0, 14_000.0)


def fourier_kernels(prefix: str, n_fft: int) -> dict[str, Tensor]:
    """The constants of `prefix`stft: a Hann-windowed DFT as two convolutions, each [n_fft // 2 + 1, 1, n_fft]."""
    bins, samples = torch.arange(n_fft // 2 + 1).double(), torch.arange(n_fft).double()
    angle = 2 * math.pi / n_fft * torch.outer(bins, samples)
    window = torch.hann_window(n_fft, dtype=torch.float64)
    return {
        f"{prefix}stft.conv_real.weight": (angle.cos() * window)[:, None],
        f"{prefix}stft.conv_imag.weight": (-angle.sin() * window)[:, None],
    }


def front_end(
    weights: Weights, key: str, config: FrontEndConfig, built_at: tuple[int, ...]
) -> tuple[FrontEndConfig, str]:
    """`config` with the mel bins and the band of the file's mel matrix, stored under `key`, and a note stating them.

    `built_at` lists the sample rates that the matrix may have been built for: at another audio rate, its band shifts.
    Raises CheckpointError if there is no such matrix.
    """
    if key not in weights.state:
        raise CheckpointError(f"{weights.file} lacks {key}")
    stored_matrix = weights.state[key]
    matrix = stored_matrix.float()
    if matrix.ndim != 2 or len(matrix) != config.n_fft // 2 + 1:
        raise CheckpointError(
            f"{weights.file}: {key} is {tuple(matrix.shape)}, not ({config.n_fft // 2 + 1}, mel bins)"
        )
    for rate in built_at:
        for f_max in BANDS:
            members = {"mel_bins": matrix.shape[1], "f_min": 50.0, "f_max": min(f_max, rate / 2)}
            known = mel_matrix(config.model_copy(update={**members, "sample_rate": rate, "mel_scale": "slaney"}))
            if not torch.allclose(known, matrix, rtol=max(1e-5, rounding(stored_matrix)), atol=1e-6):
                continue
            if rate == config.sample_rate:
                settled = config.model_copy(update={**members, "mel_scale": "slaney"})
                return settled, f"the mel matrix is Slaney's, 50-{members['f_max']:g} Hz"
            return stored(config, matrix), (
                f"the mel matrix is Slaney's, 50-{members['f_max']:g} Hz, built for {rate} Hz audio and used at "
                f"{config.sample_rate} Hz: it covers {heard(config, matrix)}"
            )
    return stored(config, matrix), f"the mel matrix is unknown and kept as it is; it covers {heard(config, matrix)}"


def edges(config: FrontEndConfig, matrix: Tensor) -> tuple[float, float]:
    """The lowest and the highest frequency, in Hz, of a mel matrix [bins, mels]."""
    hearing = matrix.abs().sum(dim=1).nonzero().flatten()
    if len(hearing) == 0:
        raise CheckpointError("the mel matrix is zero")
    width = config.sample_rate / config.n_fft
    return float(hearing[0]) * width, min((float(hearing[-1]) + 1) * width, config.sample_rate / 2)


def stored(config: FrontEndConfig, matrix: Tensor) -> FrontEndConfig:
    low, high = edges(config, matrix)
    return config.model_copy(
        update={"mel_bins": matrix.shape[1], "mel_scale": "stored", "f_min": round(low, 1), "f_max": round(high, 1)}
    )


def heard(config: FrontEndConfig, matrix: Tensor) -> str:
    low, high = edges(config, matrix)
    return f"{low:.0f}-{high:.0f} Hz"
