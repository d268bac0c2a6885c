"""HTS-AT: from the key names of transformers to those of its authors, which msclap and laion_clap use."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor
from transformers import ClapAudioModel

from model.checkpoint import CheckpointError
from model.config import HtsatConfig
from model.importers.weights import Third, Weights

RENAMED = (
    (r"\.attention\.self\.relative", ".attn.relative"),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^batch_norm\.", "bn0."),
)
JOINT = re.compile(r"(.*\.)attention\.self\.(query|key|value)\.(weight|bias)")
UNUSED_HEADS = "class heads that no embedding passes through"


def origin(key: str) -> str | Third:
    """The authors' key of a key of transformers' audio encoder."""
    if joint := JOINT.fullmatch(key):
        block, part, kind = joint.groups()
        return Third(f"{block}attn.qkv.{kind}", ("query", "key", "value").index(part))
    for ours, theirs in RENAMED:
        key = re.sub(ours, theirs, key)
    return key


def config(weights: Weights, prefix: str) -> HtsatConfig:
    """The architecture, from the shapes of the weights under `prefix`. Raises CheckpointError naming a key at fault."""

    def shape(key: str, dimensions: int) -> torch.Size:
        name = prefix + key
        if name not in weights.state:
            raise CheckpointError(f"{weights.file} lacks {name}")
        found = weights.state[name].shape
        if len(found) != dimensions:
            raise CheckpointError(f"{weights.file}: {name} is {tuple(found)}, not of {dimensions} dimensions")
        return found

    width, _, patch, _ = shape("patch_embed.proj.weight", 4)
    blocks: dict[int, int] = {}
    for key in weights.state:
        if found := re.match(re.escape(prefix) + r"layers\.(\d+)\.blocks\.(\d+)\.", key):
            stage, block = map(int, found.groups())
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
    tables = [shape(f"layers.{stage}.blocks.0.attn.relative_position_bias_table", 2) for stage in sorted(blocks)]
    window = (math.isqrt(tables[0][0]) + 1) // 2
    # The first stage's mask has one row for each attention window of the image.
    rows = math.isqrt(shape("layers.0.blocks.1.attn_mask", 3)[0])
    hidden = shape("layers.0.blocks.0.mlp.fc1.weight", 2)[0]
    fused = f"{prefix}patch_embed.mel_conv2d.weight" in weights.state
    return HtsatConfig(
        width=width,
        stage_depths=tuple(blocks[stage] for stage in sorted(blocks)),
        stage_heads=tuple(table[1] for table in tables),
        attention_window=window,
        image_size=rows * window * patch,
        patch_size=patch,
        patch_stride=patch,
        mlp_ratio=hidden / width,
        fused=fused,
        fuse_windows=False,
        fusion_squeeze=width // shape("patch_embed.fusion_model.local_att.0.weight", 4)[0] if fused else 4,
    )


def masks(model: ClapAudioModel, prefix: str) -> dict[str, Tensor]:
    """The constant attention masks of the blocks that shift their windows."""
    constants = {}
    encoder: Any = model.audio_encoder
    for stage, (layer, size) in enumerate(zip(encoder.layers, encoder.input_resolutions, strict=True)):
        for number, block in enumerate(layer.blocks):
            block.set_shift_and_window_size(size)
            if block.shift_size > 0:
                mask = block.get_attn_mask(*size, dtype=torch.float32, device=torch.device("cpu"))
                constants[f"{prefix}layers.{stage}.blocks.{number}.attn_mask"] = mask
    return constants


def heads(prefix: str) -> dict[str, str]:
    """Patterns of the AudioSet heads' keys, each with the reason to leave them out."""
    return {re.escape(prefix) + r"(tscam_conv|head)\.(weight|bias)": UNUSED_HEADS}
