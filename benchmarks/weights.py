"""Models to serve. Speed does not depend on the weights, so these are random."""

from __future__ import annotations

import json
from pathlib import Path


def cnn14(folder: Path) -> Path:
    """A checkpoint with the paper's CNN14 and its front end, and the bundled text encoder. Written once."""
    if (folder / "model.safetensors").exists():
        return folder
    import torch

    from model.checkpoint import DEFAULT, read_config, save
    from model.clap import Clap
    from model.config import ClapConfig

    config = ClapConfig(name="cnn14-random", text_encoder=read_config(DEFAULT).text_encoder)
    torch.manual_seed(0)
    save(Clap(config), folder)
    return folder


def clap_model(folder: Path) -> Path:
    """A transformers ClapModel directory with the sizes of LAION's unfused CLAP. Written once."""
    if (folder / "model.safetensors").exists():
        return folder
    import torch
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = ClapConfig(audio_config={"enable_fusion": False})
    model = ClapModel(config)
    for name, value in model.named_parameters():
        if name.startswith("logit_scale"):
            value.data.fill_(2.6593)  # the logarithm of 1 / 0.07
    model.save_pretrained(folder)
    vocabulary, merges = byte_level_vocabulary()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text(merges)
    tokenizer = RobertaTokenizer.from_pretrained(folder, model_max_length=512)
    extractor = ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad")
    ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


def clap_checkpoint(folder: Path, clap: Path) -> Path:
    """The same weights as an anysound checkpoint. Written once."""
    if not (folder / "model.safetensors").exists():
        from model.importers import read

        read("transformers", clap, "clap-random").write(folder)
    return folder


def byte_level_vocabulary() -> tuple[dict[str, int], str]:
    """A RoBERTa vocabulary of single bytes only; its size does not affect the speed."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokens = [*special, *bytes_to_unicode().values(), "<mask>"]
    return {token: number for number, token in enumerate(tokens)}, "#version: 0.2\n"
