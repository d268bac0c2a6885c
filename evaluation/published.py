"""Published figures to compare a checkpoint's own with, in each task's metric, 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PAPER = "Elizalde et al. 2022, CLAP (arXiv 2206.04769)"
MSCLAP_2023 = "Elizalde et al. 2023 (arXiv 2309.05767), table 2"

ENCODERS = "Elizalde et al. 2023 (arXiv 2309.05767), table 1: other encoders on less data"
SOURCES = {
    "CLAP 2022": PAPER,
    "MS CLAP 2023": MSCLAP_2023,
    "LAION-CLAP": "Wu et al. 2023 (arXiv 2211.06687); tasks that are not in it: GAMA (2024), table 1",
    "LAION-CLAP music": "LAION-AI/CLAP, larger_clap_music, with a prompt of its own",
    "SLAP": "SLAP (ICASSP 2026), closed weights",
    "MGA-CLAP": "MGA-CLAP (2024)",
    "WavCaps": "WavCaps (2023)",
    "ReCLAP": "ReCLAP (2024)",
    "ONE-PEACE": "ONE-PEACE (2023)",
    "AF-CLAP": "AF-CLAP (Audio Flamingo 2, 2025)",
    "M2D-CLAP": "M2D-CLAP (2024)",
    "CompA-CLAP": "CompA (2024)",
    "HTSAT and CLIP": ENCODERS,
    "HTSAT and RoBERTa": ENCODERS,
    "HTSAT and GPT-2": ENCODERS,
}


@dataclass(frozen=True)
class Published:
    """`zero_shot`, `frozen`, `finetuned`: CLAP 2022's. `others`: zero-shot figures by the names in `SOURCES`."""

    zero_shot: float
    frozen: float | None = None
    finetuned: float | None = None
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """The other checkpoints and their figures, the highest first."""
        return sorted(self.others.items(), key=lambda one: -one[1])

    @property
    def best(self) -> tuple[str, float]:
        """The checkpoint with the highest figure, and the figure."""
        return max([("CLAP 2022", self.zero_shot), *self.ranked], key=lambda one: one[1])


PUBLISHED = {
    "esc50": Published(
        0.826,
        0.931,
        0.967,
        {
            "MS CLAP 2023": 0.939,
            "LAION-CLAP": 0.910,
            "SLAP": 0.955,
            "MGA-CLAP": 0.949,
            "WavCaps": 0.948,
            "ReCLAP": 0.928,
            "ONE-PEACE": 0.918,
            "AF-CLAP": 0.913,
        },
    ),
    "fsd50k": Published(0.3024, 0.5905, 0.5859, {"MS CLAP 2023": 0.485, "CompA-CLAP": 0.315}),
    "urbansound8k": Published(
        0.7324,
        0.8389,
        0.8796,
        {
            "MS CLAP 2023": 0.823,
            "LAION-CLAP": 0.770,
            "ReCLAP": 0.952,
            "AF-CLAP": 0.923,
            "MGA-CLAP": 0.837,
            "WavCaps": 0.806,
        },
    ),
    "dcase2017-task4": Published(0.300, 0.533, 0.5938, {"MS CLAP 2023": 0.466, "LAION-CLAP": 0.313}),
    "audioset": Published(0.058, None, None, {"MS CLAP 2023": 0.102, "LAION-CLAP": 0.062}),
    "gtzan-music-speech": Published(1.0, 1.0, 1.0, {"MS CLAP 2023": 0.992}),
    "gtzan-genres": Published(
        0.252, 0.793, 0.913, {"MS CLAP 2023": 0.584, "LAION-CLAP music": 0.71, "M2D-CLAP": 0.7517}
    ),
    "mridangam-stroke": Published(0.3447, 0.7754, 0.9794),
    "mridangam-tonic": Published(0.1965, 0.6391, 0.9534),
    "beijing-opera": Published(
        0.4746, 0.7754, 0.9026, {"MS CLAP 2023": 0.466, "CompA-CLAP": 0.482, "HTSAT and CLIP": 0.627}
    ),
    "tut2017": Published(0.2963, 0.7099, 0.7463, {"MS CLAP 2023": 0.538, "LAION-CLAP": 0.356, "CompA-CLAP": 0.358}),
    "crema-d": Published(0.1784, 0.283, 0.6834, {"MS CLAP 2023": 0.300, "HTSAT and RoBERTa": 0.301}),
    "ravdess": Published(0.1599, 0.4515, 0.6436, {"MS CLAP 2023": 0.315}),
    "speech-commands": Published(0.1063, 0.3708, 0.9683, {"MS CLAP 2023": 0.164}),
    "vocalsound": Published(0.4945, 0.8411, 0.9795, {"MS CLAP 2023": 0.800, "CompA-CLAP": 0.495}),
    "libricount": Published(0.1788, 0.5715, 0.7783, {"MS CLAP 2023": 0.246, "HTSAT and GPT-2": 0.254}),
}

HEAR = {
    "esc50": 0.930,
    "libricount": 0.649,
    "crema-d": 0.547,
    "gtzan-genres": 0.818,
    "gtzan-music-speech": 0.992,
    "beijing-opera": 0.932,
}
"""CLAP 2022 under HEAR's protocol, as the authors of Cacophony (2024) measured it."""
