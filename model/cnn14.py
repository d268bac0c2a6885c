"""PANNs CNN14 (Kong et al. 2020), the paper's audio encoder, under the module names of the released checkpoints."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from model.config import Cnn14Config
from model.front_end import LogMel

CHANNELS = (64, 128, 256, 512, 1024, 2048)


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each with batch norm and ReLU, then average pooling."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.bn2 = nn.BatchNorm2d(out)

    def forward(self, x: Tensor, pool: int) -> Tensor:
        x = F.relu_(self.bn1(self.conv1(x)))
        x = F.relu_(self.bn2(self.conv2(x)))
        return x if pool == 1 else F.avg_pool2d(x, pool)


class Cnn14(nn.Module):
    """Waveforms [batch, samples] -> embeddings [batch, embedding_dim].

    Six blocks with dropout .2, mean over mel, max + mean over time, dropout .5, a linear layer with ReLU, dropout .5.
    `fc_audioset` is the AudioSet head of the released weights; the embedding does not pass through it.
    """

    def __init__(self, config: Cnn14Config, front_end: LogMel) -> None:
        super().__init__()
        self.embedding_dim = config.embedding_dim
        self.logmel_extractor = front_end
        self.bn0 = nn.BatchNorm2d(front_end.config.mel_bins)
        for number, (channels, out) in enumerate(zip((1, *CHANNELS), CHANNELS, strict=False), 1):
            setattr(self, f"conv_block{number}", ConvBlock(channels, out))
        self.fc1 = nn.Linear(CHANNELS[-1], config.embedding_dim)
        self.fc_audioset = None if config.classes is None else nn.Linear(config.embedding_dim, config.classes)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, waveforms: Tensor) -> Tensor:
        x = self.logmel_extractor(waveforms).unsqueeze(1)
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        for number in range(1, len(CHANNELS) + 1):
            block: ConvBlock = getattr(self, f"conv_block{number}")
            x = F.dropout(block(x, pool=1 if number == len(CHANNELS) else 2), 0.2, self.training)
        x = x.mean(dim=3)
        x = x.amax(dim=2) + x.mean(dim=2)
        x = F.dropout(x, 0.5, self.training)
        x = F.relu(self.fc1(x))
        return F.dropout(x, 0.5, self.training)

    def classify(self, waveforms: Tensor) -> Tensor:
        """Class logits [batch, classes] of the optional head. Raises ValueError where there is none."""
        if self.fc_audioset is None:
            raise ValueError("this encoder has no class head")
        logits: Tensor = self.fc_audioset(self.forward(waveforms))
        return logits
