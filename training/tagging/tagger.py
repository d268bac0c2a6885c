"""The teacher: EfficientAT's AudioSet tagger, run as it was released (Schmid et al. 2023)."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import Tensor

from model.config import FrontEndConfig, MobileNetConfig
from model.front_end import LogMel
from model.mobilenet import MobileNet
from training.torch_files import TorchFileError, read_torch_file

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
)


def class_labels(weights: Path) -> Path:
    """The names of the classes, which lie beside the weights."""
    return weights.with_name("audioset_class_labels.csv")


def read_classes(labels: Path) -> list[str]:
    with labels.open(encoding="utf-8", newline="") as file:
        return [row["display_name"] for row in csv.DictReader(file)]


class Tagger:
    """527 AudioSet class logits and 384 pooled features for windows of 32 kHz audio."""

    def __init__(self, weights: Path, class_labels: Path, width: float = 0.4) -> None:
        """Raises TorchFileError where `weights` cannot be read, or are those of another network."""
        self.classes = read_classes(class_labels)
        self.network = MobileNet(MobileNetConfig(width=width, classes=len(self.classes)), LogMel(FRONT_END))
        state = read_torch_file(weights)
        try:
            self.network.load_state_dict(state | {"logmel_extractor.melW": self.network.logmel_extractor.melW})
        except (RuntimeError, TypeError) as error:
            cause = " ".join(str(error).split())
            raise TorchFileError(f"{weights} is not the tagger's weights: {cause[:200]}") from None
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def tag(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Windows [batch, samples] -> class logits [batch, 527], features [batch, 384]."""
        feature_map = self.network.feature_map(windows)
        assert self.network.classifier is not None  # noqa: S101 - the constructor asked for the head
        return self.network.classifier(feature_map), feature_map.mean(dim=(2, 3))

    def head(self) -> dict[str, Tensor]:
        """The layers of the class head: `hidden.weight`, `hidden.bias`, `classes.weight`, `classes.bias`."""
        state = self.network.state_dict()
        places = {"hidden": "classifier.2", "classes": "classifier.5"}
        return {f"{name}.{part}": state[f"{key}.{part}"] for name, key in places.items() for part in ("weight", "bias")}
