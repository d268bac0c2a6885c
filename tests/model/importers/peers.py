"""Other projects' models in small: their own classes where they are installed, their own key names always."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer
from torch import nn
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

SENTENCES = ["this is a sound of the dog rain cat siren"] * 10


def randomise(model: nn.Module) -> None:
    """Weights large enough, and statistics other than 0 and 1: nothing that is misplaced may look right."""
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point() and (value.ndim != 0):
                value.add_(torch.randn_like(value) * 0.1)


def write_bpe(folder: Path, special_tokens: list[str]) -> None:
    """vocab.json and merges.txt of a small byte-level BPE."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(SENTENCES, vocab_size=300, special_tokens=special_tokens, show_progress=False)
    bpe.save_model(str(folder))


def write_transformers_clap(folder: Path, fused: bool = False) -> ClapModel:
    """A ClapModel directory as save_pretrained writes it. Returns the model, in evaluation mode."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = ClapModel(
        ClapConfig(
            text_config={
                "vocab_size": 300,
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 32,
                "max_position_embeddings": 34,
            },
            audio_config={
                "patch_embeds_hidden_size": 8,
                "hidden_size": 16,
                "depths": [2, 1],
                "num_attention_heads": [1, 2],
                "num_hidden_layers": 2,
                "window_size": 4,
                "spec_size": 64,
                "num_mel_bins": 16,
                "enable_fusion": fused,
                "fusion_type": "aff_2d" if fused else None,
            },
            projection_dim=12,
        )
    )
    randomise(model)
    model.eval().save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=8_000,
        hop_length=80,
        max_length_s=1,
        fft_window_size=256,
        frequency_min=50,
        frequency_max=4_000,
        truncation="fusion" if fused else "rand_trunc",
    ).save_pretrained(folder)
    write_bpe(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    RobertaTokenizer.from_pretrained(folder).save_pretrained(folder)
    return model


def change_safetensors(folder: Path, **changes: torch.Tensor | None) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    for key, value in changes.items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    save_file(state, path)


def change_json(path: Path, **members: object) -> None:
    """Set members; a name with a dot is a member of a member."""
    document = json.loads(path.read_text())
    for name, value in members.items():
        *outer, last = name.split(".")
        place = document
        for key in outer:
            place = place[key]
        place[last] = value
    path.write_text(json.dumps(document))
