"""Log-mel front end: waveform windows to log-mel spectrograms, in batches, on the device of the windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchaudio.functional
from torch import Tensor, nn
from torchaudio.compliance import kaldi

from model.config import FrontEndConfig


def mel_matrix(config: FrontEndConfig) -> Tensor:
    """Mel filter bank [n_fft // 2 + 1, mel_bins].

    `slaney` is librosa's default (Slaney scale and area norm), which the paper and PANNs use; `kaldi` is Kaldi's
    triangles on the HTK scale without norm, which EfficientAT uses. Its bank stops short of the Nyquist bin. `htk` is
    torchaudio's default (HTK scale, no norm), which LAION's fused models use. `stored` is for a matrix that has no
    formula: zeros until the checkpoint's weights are loaded.
    """
    bins = config.n_fft // 2 + 1
    if config.mel_scale == "kaldi":
        bank, _ = kaldi.get_mel_banks(
            config.mel_bins, config.n_fft, config.sample_rate, config.f_min, config.f_max, 100.0, -500.0, 1.0
        )
        padded: Tensor = F.pad(bank, (0, bins - bank.shape[1]))
        return padded.T.contiguous()
    if config.mel_scale == "stored":
        return torch.zeros(bins, config.mel_bins)
    matrix: Tensor = torchaudio.functional.melscale_fbanks(
        bins,
        config.f_min,
        config.f_max,
        config.mel_bins,
        config.sample_rate,
        norm="slaney" if config.mel_scale == "slaney" else None,
        mel_scale=config.mel_scale,
    )
    return matrix


class LogMel(nn.Module):
    """Power spectrogram (centred, reflect-padded Hann frames), mel filter bank, log.

    The mel matrix is a persistent buffer: a checkpoint holds the one it was trained with, as `melW`, its key in the
    released checkpoints. The formulas are torchlibrosa's (`decibel`: 10 log10 max(x, floor)) and EfficientAT's
    (`natural`: log(x + floor)), both followed by (x - mean) / scale.
    """

    melW: Tensor  # noqa: N815 - the released checkpoints' key
    window: Tensor

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("melW", mel_matrix(config))
        self.dtype = torch.float64 if config.double_precision else torch.float32
        window = torch.hann_window(config.window_length, periodic=config.periodic_window, dtype=self.dtype)
        self.register_buffer("window", window, persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Waveforms [batch, samples] -> log-mel spectrograms [batch, frames, mel_bins], always float32."""
        with torch.autocast(waveforms.device.type, enabled=False):
            return self._log_mel(waveforms.to(self.dtype)).float()

    def _log_mel(self, waveforms: Tensor) -> Tensor:
        config = self.config
        if config.pre_emphasis is not None:
            waveforms = waveforms[:, 1:] - config.pre_emphasis * waveforms[:, :-1]
        spectrum = torch.stft(
            waveforms,
            config.n_fft,
            config.hop_length,
            config.window_length,
            self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        mel = power.transpose(1, 2) @ self.melW.to(self.dtype)
        if config.log == "decibel":
            mel = 10.0 * mel.clamp(min=config.log_floor).log10()
        else:
            mel = (mel + config.log_floor).log()
        return (mel - config.mean) / config.scale
