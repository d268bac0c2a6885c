"""Distillation: a compact encoder, from random weights, is trained to reproduce the outputs of the tagger.

The student has the tagger's layers and hears fewer frames. Teacher and student get the same windows. Each layer of the
student is compared with the output of the teacher's layer (Romero et al. 2015, FitNets), each embedding with the
teacher's in the joint space. At first, every layer is trained alone, on the teacher's output of the layer before
(`forced`): all layers learn at once, and none waits for those below it. Only outputs of the tagger are used, never its
weights.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.clap import AudioEncoder
from model.mobilenet import MobileNet
from training.bundled.heard import TAGGED
from training.tagging.space import JointSpace
from training.tagging.tagger import Tagger

SHARPNESS = 20.0
"""Scale of the cosines in the softmax over classes."""
QUIETEST = 0.1
"""A channel whose spread is below this share of its layer's mean spread counts as if it had that spread."""


class Heard(NamedTuple):
    """What a network makes of n windows: the output of each layer [n, channels, bins, frames], embeddings [n, d]."""

    layers: list[Tensor]
    embeddings: Tensor


def images(network: MobileNet, windows: Tensor) -> Tensor:
    """Windows [n, samples] -> the spectrograms [n, 1, bins, frames] that the first layer gets."""
    mel: Tensor = network.logmel_extractor(windows)
    return mel.transpose(1, 2).unsqueeze(1).contiguous(memory_format=torch.channels_last)


def outputs(network: MobileNet, windows: Tensor) -> list[Tensor]:
    """The output of each layer; the mean of the last one is the network's feature vector."""
    found = [images(network, windows)]
    for layer in network.features:
        found.append(layer(found[-1]))
    return found[1:]


def fitted(wanted: Tensor, frames: int) -> Tensor:
    """A layer's output [n, channels, bins, any] interpolated in time to `frames`."""
    if wanted.shape[3] == frames:
        return wanted
    return F.interpolate(wanted, (wanted.shape[2], frames), mode="bilinear", align_corners=False)


class Teacher:
    """The tagger and the joint space. The spread of each channel is taken from the examples `windows` [n, samples]."""

    def __init__(self, tagger: Tagger, space: JointSpace, windows: Tensor) -> None:
        self.space = space
        self._network = tagger.network
        spreads = [layer.std(dim=(0, 2, 3)) for layer in self.hear(windows).layers]
        self.spreads = [spread.clamp(min=QUIETEST * float(spread.mean())) for spread in spreads]

    @torch.no_grad()
    def hear(self, windows: Tensor) -> Heard:
        """Windows [n, samples]; small batches fit into the CPU's cache."""
        parts = [outputs(self._network, part) for part in windows.split(TAGGED)]
        layers = [torch.cat(part).contiguous(memory_format=torch.channels_last) for part in zip(*parts, strict=True)]
        return Heard(layers, self.space.embed(layers[-1].mean(dim=(2, 3))))


class Student(nn.Module):
    """The encoder in training. Its base is a MobileNet with the tagger's layers."""

    def __init__(self, encoder: AudioEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        if not isinstance(encoder.base, MobileNet):
            raise TypeError("the student is a mobilenet, as the tagger is")

    @property
    def base(self) -> MobileNet:
        return cast(MobileNet, self.encoder.base)

    def embed(self, features: Tensor) -> Tensor:
        return F.normalize(self.encoder.projection(features), dim=-1)

    def forward(self, windows: Tensor) -> Heard:
        """Windows [n, samples]; every layer gets the output of the one before."""
        layers = outputs(self.base, windows)
        return Heard(layers, self.embed(layers[-1].mean(dim=(2, 3))))

    def forced(self, windows: Tensor, heard: Heard) -> Heard:
        """Every layer gets what the teacher's layer before gave."""
        given = images(self.base, windows)
        layers: list[Tensor] = []
        for layer, wanted in zip(self.base.features, heard.layers, strict=True):
            layers.append(layer(given))
            given = fitted(wanted, layers[-1].shape[3])
        return Heard(layers, self.embed(layers[-1].mean(dim=(2, 3))))


def losses(given: Heard, wanted: Heard, teacher: Teacher) -> dict[str, Tensor]:
    """The parts of the loss by name: squared error of the layers in units of each channel's spread, mean over layers;
    1 - cosine of the embeddings; KL divergence of the distributions over classes."""
    errors = [
        (own - fitted(other, own.shape[3])).div(spread[None, :, None, None]).square().mean()
        for own, other, spread in zip(given.layers, wanted.layers, teacher.spreads, strict=True)
    ]
    classes = teacher.space.classes
    order = (SHARPNESS * wanted.embeddings @ classes.T).softmax(dim=1)
    return {
        "layers": torch.stack(errors).mean(),
        "embedding": 1 - (given.embeddings * wanted.embeddings).sum(dim=1).mean(),
        "order": F.kl_div((SHARPNESS * given.embeddings @ classes.T).log_softmax(dim=1), order, reduction="batchmean"),
    }


def shifted(windows: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate all windows [n, samples] in time by the same random shift."""
    return windows.roll(int(torch.randint(0, windows.shape[1], (1,), generator=generator)), dims=1)
