"""HTS-AT (Chen et al. 2022), the audio encoder of LAION's CLAPs and of Microsoft's of 2023.

The network is transformers' own; this module adds the front end before it and takes the pooled embedding after it.
"""

from __future__ import annotations

import torch
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

    A fused model reads four spectrograms: one of the whole clip and three of random crops. A window is never longer
    than the model's length, so all four are the same and the result does not depend on chance or on the batch.
    """

    def __init__(self, config: HtsatConfig, front_end: LogMel) -> None:
        super().__init__()
        self.config = config
        self.logmel_extractor = front_end
        self.htsat = ClapAudioModel(architecture(config, front_end.config.mel_bins))
        self.embedding_dim = int(self.htsat.audio_encoder.num_features)

    def forward(self, waveforms: Tensor) -> Tensor:
        mel = self.logmel_extractor(waveforms).unsqueeze(1)
        longer = None
        if self.config.fused:
            mel = mel.expand(-1, 4, -1, -1)
            longer = torch.full((len(mel),), self.config.fuse_windows, device=mel.device)
        embedding: Tensor = self.htsat(input_features=mel, is_longer=longer).pooler_output
        return embedding
