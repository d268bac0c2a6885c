"""The compact audio encoder: EfficientAT's MobileNetV3-Large on log-mel spectrograms (Schmid et al. 2023).

Module names follow the released EfficientAT checkpoints, so that their weights can be loaded key by key.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from model.config import MobileNetConfig
from model.front_end import LogMel


class Block(NamedTuple):
    """One row of MobileNetV3-Large (Howard et al. 2019, table 1), before the width multiplier."""

    channels: int
    kernel: int
    expanded: int
    out: int
    squeeze: bool
    hardswish: bool
    stride: int


BLOCKS = (
    Block(16, 3, 16, 16, False, False, 1),
    Block(16, 3, 64, 24, False, False, 2),
    Block(24, 3, 72, 24, False, False, 1),
    Block(24, 5, 72, 40, True, False, 2),
    Block(40, 5, 120, 40, True, False, 1),
    Block(40, 5, 120, 40, True, False, 1),
    Block(40, 3, 240, 80, False, True, 2),
    Block(80, 3, 200, 80, False, True, 1),
    Block(80, 3, 184, 80, False, True, 1),
    Block(80, 3, 184, 80, False, True, 1),
    Block(80, 3, 480, 112, True, True, 1),
    Block(112, 3, 672, 112, True, True, 1),
    Block(112, 5, 672, 160, True, True, 2),
    Block(160, 5, 960, 160, True, True, 1),
    Block(160, 5, 960, 160, True, True, 1),
)


def scaled(channels: float, width: float = 1.0, divisor: int = 8) -> int:
    """`channels` x `width`, rounded to a multiple of `divisor` but not down by more than a tenth."""
    exact = channels * width
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * exact else rounded


def convolution(
    channels: int,
    out: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = None,
) -> nn.Sequential:
    """Convolution, batch norm (eps 1e-3, momentum 1e-2), activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps=1e-3, momentum=1e-2),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


class SqueezeExcitation(nn.Module):
    """Channel gates from the mean over frequency and time, with a sigmoid where MobileNetV3 has a hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = scaled(channels // 4)
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc2(self.fc1(x.mean(dim=(2, 3))).relu()).sigmoid()
        return x * gate[:, :, None, None]


class ConcurrentSqueezeExcitation(nn.Module):
    """EfficientAT's container of squeeze-and-excitation layers; its released models have only the channel one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([SqueezeExcitation(channels)])

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = self.conc_se_layers[0](x)
        return gated


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, squeeze-and-excitation, projection; a shortcut if the shape is unchanged."""

    def __init__(self, row: Block, width: float) -> None:
        super().__init__()
        channels, expanded, out = (scaled(c, width) for c in (row.channels, row.expanded, row.out))
        activation = nn.Hardswish if row.hardswish else nn.ReLU
        layers: list[nn.Module] = []
        if expanded != channels:
            layers.append(convolution(channels, expanded, 1, activation=activation))
        layers.append(convolution(expanded, expanded, row.kernel, row.stride, expanded, activation))
        if row.squeeze:
            layers.append(ConcurrentSqueezeExcitation(expanded))
        layers.append(convolution(expanded, out, 1))
        self.block = nn.Sequential(*layers)
        self.shortcut = row.stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.shortcut else y


class MobileNet(nn.Module):
    """Waveforms [batch, samples] -> embeddings [batch, 6 x scaled(160 x width)], the mean of the last feature map."""

    def __init__(self, config: MobileNetConfig, front_end: LogMel) -> None:
        super().__init__()
        width = config.width
        last = scaled(BLOCKS[-1].out, width)
        self.embedding_dim = 6 * last
        self.logmel_extractor = front_end
        self.features = nn.Sequential(
            convolution(1, scaled(BLOCKS[0].channels, width), 3, stride=2, activation=nn.Hardswish),
            *(InvertedResidual(row, width) for row in BLOCKS),
            convolution(last, self.embedding_dim, 1, activation=nn.Hardswish),
        )
        self.classifier = None if config.classes is None else self._head(width, config.classes)
        self._initialise()

    def _head(self, width: float, classes: int) -> nn.Sequential:
        hidden = scaled(1280, width)
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.embedding_dim, hidden),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(hidden, classes),
        )

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def feature_map(self, waveforms: Tensor) -> Tensor:
        """Waveforms [batch, samples] -> feature map [batch, channels, mel, frames]."""
        mel = self.logmel_extractor(waveforms)
        features: Tensor = self.features(mel.transpose(1, 2).unsqueeze(1))
        return features

    def forward(self, waveforms: Tensor) -> Tensor:
        return self.feature_map(waveforms).mean(dim=(2, 3))

    def classify(self, waveforms: Tensor) -> Tensor:
        """Class logits [batch, classes] of the optional head. Raises ValueError where there is none."""
        if self.classifier is None:
            raise ValueError("this encoder has no class head")
        logits: Tensor = self.classifier(self.feature_map(waveforms))
        return logits
