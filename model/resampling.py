"""Batches of windows resampled to the model's rate, on the model's device, by overlap-save in the frequency domain.

A frame of several blocks is transformed, cut or extended to the spectrum of as many blocks at the other rate, filtered
and transformed back; the blocks at its ends, which the filter mixes with the other end, are dropped. Equal to libsoxr's
`HQ` up to the upper twelfth of the band, where the two filters fall.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from model.config import Padding
from model.native import Excerpt, Ratio, ratio
from model.windows import Samples

FRAME = 16
"""Blocks in a frame: enough that few are dropped, and few enough for the caches of a core."""


class Resampler:
    """From recordings at `rate` Hz to windows of `window` samples at `target` Hz. Raises ValueError for other rates."""

    def __init__(self, rate: int, target: int, window: int, device: torch.device) -> None:
        found = ratio(rate, target)
        if found is None:
            raise ValueError(f"{rate} Hz has no small ratio to {target} Hz")
        self.ratio: Ratio = found
        self._window = window
        self._device = device
        self._frame = max(FRAME, 8 * found.lead)
        self._step = self._frame - 2 * found.lead
        blocks = -(-(window + found.model - 1) // found.model)
        self._frames = -(-blocks // self._step)
        self._row = (self._frames * self._step + 2 * found.lead) * found.native
        self._gain = torch.from_numpy(self._response()).to(device) if found.lead else None

    def _response(self) -> Samples:
        """The filter's frequency response [bins, 2], for real and imaginary parts, scaled for the two lengths."""
        taps = self.ratio.filter()
        native, model = self._frame * self.ratio.native, self._frame * self.ratio.model
        impulse = np.zeros(max(native, model))
        impulse[: len(taps)] = taps
        impulse[-len(taps) + 1 :] = taps[:0:-1]
        response = np.fft.rfft(impulse).real[: min(native, model) // 2 + 1]
        return np.repeat(response[:, np.newaxis] * (model / native), 2, axis=1).astype(np.float32)

    def fill(self, batch: Tensor, excerpts: Mapping[int, Excerpt], padding: Padding) -> None:
        """Write the windows of `excerpts` into the rows of `batch` [b, window] by which they are given.

        A clip that is shorter than a window is padded.
        """
        # On a CPU, one at a time in the same memory, which stays in the core's cache.
        step = 1 if self._device.type == "cpu" else len(excerpts)
        native = np.empty((step, self._row), np.float32)
        every = list(excerpts)
        for rows in (every[first : first + step] for first in range(0, len(every), step)):
            before = [excerpts[row].write(into, self.ratio) for row, into in zip(rows, native, strict=True)]
            resampled = self._resample(torch.from_numpy(native).to(self._device))
            windows = [
                self._window_of(samples[at:], excerpts[row].recording.length, padding)
                for row, samples, at in zip(rows, resampled, before, strict=True)
            ]
            if len(rows) == 1:
                batch[rows[0]] = windows[0]  # seven times as fast
            else:
                batch[rows] = torch.stack(windows)

    def _resample(self, rows: Tensor) -> Tensor:
        """Samples [b, row] -> samples at the model's rate [b, n], at least a window and a block."""
        if self._gain is None:
            return rows
        native, model = self._frame * self.ratio.native, self._frame * self.ratio.model
        frames = rows.unfold(1, native, self._step * self.ratio.native)
        spectrum = torch.view_as_real(torch.fft.rfft(frames)[..., : len(self._gain)])
        filtered = torch.view_as_complex(spectrum * self._gain)
        edge = self.ratio.lead * self.ratio.model
        resampled: Tensor = torch.fft.irfft(filtered, model)[..., edge : model - edge].flatten(1)
        return resampled

    def _window_of(self, samples: Tensor, length: int, padding: Padding) -> Tensor:
        """The first window of resampled samples, padded as `model.windows.pad` does if the clip is shorter."""
        if length >= self._window:
            return samples[: self._window]
        clip = samples[:length]
        whole, rest = {
            "repeat": divmod(self._window, length),
            "repeat_whole": (self._window // length, 0),
            "zero": (1, 0),
        }[padding]
        silence = samples.new_zeros(self._window - whole * length - rest)
        return torch.cat([clip.expand(whole, -1).reshape(-1), clip[:rest], silence])
