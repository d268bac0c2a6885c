"""Whether bfloat16 gives the same scores as float32: measured by `--dtype auto` for each checkpoint and device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.prompts import Embeddings
from model.scores import contrast_sigmoid, open_set_softmax, softmax

PROMISED = 5e-3
"""The largest change of a score that the service allows."""
ALLOWED = 2e-3
"""The largest change allowed on the probe. Real recordings are more varied and change up to 2.5 times as much."""

NAMES = ("dog", "rain", "music", "speech", "an engine", "a bell", "birdsong", "a door")


def probe(samples: int, rate: int) -> Embeddings:
    """Synthetic windows float32 [16, samples] of very different sounds: tones, chirps, clicks and noises."""
    chance = np.random.default_rng(0)
    t = np.arange(samples) / rate
    noise = chance.normal(0, 0.1, (4, samples))
    brown = np.cumsum(noise, axis=1)
    brown /= 4 * np.abs(brown).max(axis=1, keepdims=True)
    hertz = np.array([110.0, 440.0, 1_760.0, 3_520.0])[:, np.newaxis]
    tones = sum(np.sin(2 * np.pi * n * hertz * t) / (4 * n) for n in (1, 2, 3))
    chirps = 0.3 * np.sin(2 * np.pi * (hertz * t + 150 * t**2 * np.array([[-0.2], [1], [2], [0.5]])))
    swells = np.array([[2.0], [5.0], [11.0], [0.5]])
    beating = noise * (np.sin(2 * np.pi * swells * t) > 0.9) * 5
    loud = np.concatenate([noise[:2] * 0.01, brown[:2], tones, chirps, beating])
    return loud.astype(np.float32)


def largest_change(
    reference: Embeddings, other: Embeddings, prompts: Embeddings, background: Embeddings, scale: float
) -> float:
    """The largest change of any softmax, sigmoid or open-set score between two embeddings [n, d] of the same audio."""

    def scores(audio: Embeddings) -> Sequence[npt.NDArray[np.float64]]:
        logits = (audio @ prompts.T).astype(np.float64) * scale
        contrast = (audio @ background.T).astype(np.float64)
        return softmax(logits), contrast_sigmoid(logits, contrast, scale), *open_set_softmax(logits, contrast, scale)

    changes = [np.abs(one - two).max() for one, two in zip(scores(reference), scores(other), strict=True)]
    return float(max(changes))
