"""Published figures to compare a checkpoint's own with, in each task's metric, 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "Elizalde et al. 2022, CLAP (arXiv 2206.04769)"
MSCLAP_2023 = "Elizalde et al. 2023 (arXiv 2309.05767), table 2"

SOURCES = {
    "CLAP 2022": PAPER,
    "MS CLAP 2023": MSCLAP_2023,
    "SLAP": "SLAP (ICASSP 2026), closed weights",
    "MGA-CLAP": "MGA-CLAP (2024)",
    "ReCLAP": "ReCLAP (2024)",
    "AF-CLAP": "AF-CLAP (Audio Flamingo 2, 2025)",
    "LAION-CLAP": "Wu et al. 2023 (arXiv 2211.06687) and GAMA's table 1",
    "M2D-CLAP": "M2D-CLAP (2024)",
    "CompA-CLAP": "CompA (2024)",
    "GAMA": "GAMA (2024), table 1",
    "GLAP": "GLAP (2025)",
    "2309 T1": "Elizalde et al. 2023 (arXiv 2309.05767), table 1: other encoders on the same data",
}


@dataclass(frozen=True)
class Published:
    """`zero_shot`, `frozen` and `finetuned` are CLAP 2022's; `later` MS CLAP 2023's; `best` the highest found."""

    zero_shot: float
    frozen: float | None = None
    finetuned: float | None = None
    later: float | None = None
    best: float | None = None
    best_of: str = ""


PUBLISHED = {
    "esc50": Published(0.826, 0.931, 0.967, 0.939, 0.955, "SLAP"),
    "fsd50k": Published(0.3024, 0.5905, 0.5859, 0.485, 0.485, "MS CLAP 2023"),
    "urbansound8k": Published(0.7324, 0.8389, 0.8796, 0.823, 0.952, "ReCLAP"),
    "dcase2017-task4": Published(0.300, 0.533, 0.5938, 0.466, 0.466, "MS CLAP 2023"),
    "audioset": Published(0.058, None, None, 0.102, 0.102, "MS CLAP 2023"),
    "gtzan-music-speech": Published(1.0, 1.0, 1.0, 0.992, 1.0, "CLAP 2022"),
    "gtzan-genres": Published(0.252, 0.793, 0.913, 0.584, 0.7517, "M2D-CLAP"),
    "mridangam-stroke": Published(0.3447, 0.7754, 0.9794, None, 0.3447, "CLAP 2022"),
    "mridangam-tonic": Published(0.1965, 0.6391, 0.9534, None, 0.1965, "CLAP 2022"),
    "beijing-opera": Published(0.4746, 0.7754, 0.9026, 0.466, 0.627, "2309 T1"),
    "tut2017": Published(0.2963, 0.7099, 0.7463, 0.538, 0.538, "MS CLAP 2023"),
    "crema-d": Published(0.1784, 0.283, 0.6834, 0.300, 0.301, "2309 T1"),
    "ravdess": Published(0.1599, 0.4515, 0.6436, 0.315, 0.315, "MS CLAP 2023"),
    "speech-commands": Published(0.1063, 0.3708, 0.9683, 0.164, 0.164, "MS CLAP 2023"),
    "vocalsound": Published(0.4945, 0.8411, 0.9795, 0.800, 0.800, "MS CLAP 2023"),
    "libricount": Published(0.1788, 0.5715, 0.7783, 0.246, 0.254, "2309 T1"),
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
