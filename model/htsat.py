"""HTS-AT (Chen et al. 2022), the audio encoder of LAION's CLAPs and of Microsoft's of 2023.

The network is transformers' own; this module adds the front end before it and takes the pooled embedding after it.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ClapAudioConfig, ClapAudioModel

from model.config import HtsatConfig
from model.front_end import LogMel


def architecture(config: HtsatConfig, mel_bins: int) -> ClapAudioConfig:
    """The transformers configuration of the same network."""
    return ClapAudioConfig(
        patch_embeds_hidden_size=config.width,
        hidden_size=config.width * 2 ** (len(config.stage_depths) - 1),
        depths=list(config.stage_depths),
        num_attention_heads=list(config.stage_heads),
        num_hidden_layers=len(config.stage_depths),
        window_size=config.attention_window,
        spec_size=config.image_size,
        patch_size=config.patch_size,
        patch_stride=[config.patch_stride, config.patch_stride],
        num_mel_bins=mel_bins,
        mlp_ratio=config.mlp_ratio,
        hidden_dropout_prob=config.dropout,
        enable_fusion=config.fused,
        fusion_type="aff_2d" if config.fused else None,
        aff_block_r=config.fusion_squeeze,
    )


class Htsat(nn.Module):
    """Waveforms [batch, samples] -> embeddings [batch, embedding_dim].

    A fused model reads four spectrograms: one of the whole clip and three of crops. Without `fusion_s` a window is
    never longer than the model's length, and all four are the same. With it, a window that holds more is seen whole,
    shrunk in time, and in three crops: one from each third, at random in training and in its middle otherwise.
    """

    def __init__(self, config: HtsatConfig, front_end: LogMel) -> None:
        super().__init__()
        self.config = config
        self.logmel_extractor = front_end
        self.htsat = ClapAudioModel(architecture(config, front_end.config.mel_bins))
        self.sample_rate = front_end.config.sample_rate
        self.embedding_dim = int(self.htsat.audio_encoder.num_features)

    def forward(self, waveforms: Tensor) -> Tensor:
        longer = None
        if self.config.fusion_s is not None:
            return self.encode(*self.fusion_input(waveforms, round(self.config.fusion_s * self.sample_rate)))
        mel = self.logmel_extractor(waveforms).unsqueeze(1)
        if self.config.fused:
            mel = mel.expand(-1, 4, -1, -1)
            longer = torch.full((len(mel),), self.config.fuse_windows, device=mel.device)
        return self.encode(mel, longer)

    def encode(self, mel: Tensor, longer: Tensor | None) -> Tensor:
        """Spectrograms [batch, 1 or 4, frames, mel] -> embeddings [batch, embedding_dim]."""
        embedding: Tensor = self.htsat(input_features=mel, is_longer=longer).pooler_output
        return embedding

    def fusion_input(self, waveforms: Tensor, part: int) -> tuple[Tensor, Tensor]:
        """Waveforms [batch, samples], padded with zeros -> spectrograms [batch, 4, frames, mel], longer or not [batch].

        A recording of at most `part` samples is repeated to fill them, and all four spectrograms are the same.
        """
        place = torch.arange(1, waveforms.shape[1] + 1, device=waveforms.device)
        lengths = ((waveforms != 0) * place).amax(dim=1).clamp(min=1)
        longer = lengths > part
        # Each row of `tiled` repeats the first `part` or fewer samples of its recording.
        tiled = waveforms.gather(1, place[None, :part].sub(1) % lengths[:, None].clamp(max=part))
        mel = self.logmel_extractor(tiled).unsqueeze(1).repeat(1, 4, 1, 1)
        frames = mel.shape[2]
        for row in torch.nonzero(longer).flatten().tolist():
            whole = self.logmel_extractor(waveforms[row : row + 1, : int(lengths[row])])
            mel[row, 0] = F.interpolate(whole[:, None], mel.shape[2:], mode="bilinear", align_corners=False)[0, 0]
            for number, first in enumerate(crops(whole.shape[1] - frames + 1, self.training), 1):
                mel[row, number] = whole[0, first : first + frames]
        return mel, longer


def crops(places: int, random: bool) -> list[int]:
    """One of each third of `places` first frames: at random, or the middle one."""
    edges = [places * third // 3 for third in range(4)]
    return [
        first + (int(torch.randint(max(last - first, 1), ())) if random else (last - first) // 2)
        for first, last in itertools.pairwise(edges)
    ]
