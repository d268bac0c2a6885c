"""Small untrained checkpoints, made on the spot: every part is real, only the sizes are not."""

from __future__ import annotations

from pathlib import Path

import torch

from model.checkpoint import save
from model.clap import Clap
from model.config import ClapConfig, FrontEndConfig, MobileNetConfig, TextEncoderConfig
from model.text import Tokenizer

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] this is a sound of the dog rain cat siren silence background noise an unrelated"

TINY = ClapConfig(
    name="tiny",
    front_end=FrontEndConfig(
        sample_rate=8_000, n_fft=256, window_length=256, mel_bins=32, f_max=4_000, window_s=1, window_hop_s=1
    ),
    audio_encoder=MobileNetConfig(width=0.1),
    text_encoder=TextEncoderConfig(
        architecture={
            "model_type": "bert",
            "vocab_size": 128,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
        },
        max_tokens=32,
    ),
    joint_dim=16,
)


def write_tokenizer(folder: Path) -> Path:
    """A word-piece tokenizer that knows `WORDS` and single letters."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*WORDS.split(), *letters[1:], *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}\n')
    return folder


def tiny_checkpoint(folder: Path, config: ClapConfig = TINY, seed: int = 0) -> Path:
    """Write a checkpoint of `config` with random weights; the same seed gives the same file."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer(write_tokenizer(folder / "vocabulary"), config.text_encoder.max_tokens)
    save(Clap(config), folder, tokenizer)
    for left in (folder / "vocabulary").iterdir():
        left.unlink()
    (folder / "vocabulary").rmdir()
    return folder
