"""msclap with random weights, saved as Microsoft saves them, and what it says of the clips: WORK 2022|2023."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
import yaml
from random_weights import clips, prompts, randomise, write
from tokenizers_on_disk import bert, byte_level
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, GPT2TokenizerFast


def load(path: str) -> tuple[torch.Tensor, int]:
    """torchaudio.load without the decoder package that torchaudio 2.9 and later leave out."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


def write_text_model(folder: Path, work: Path) -> None:
    """A directory with the hub's name of the text model, which from_pretrained takes before the hub."""
    folder.mkdir(exist_ok=True)
    if folder.name == "gpt2":
        GPT2Model(GPT2Config()).save_pretrained(folder)
        byte_level(folder, prompts(work), [], ["<|endoftext|>"])
        GPT2TokenizerFast.from_pretrained(folder).save_pretrained(folder)
    else:
        BertModel(BertConfig()).save_pretrained(folder)
        bert(folder)


def main(work: Path, version: str) -> None:
    os.chdir(work)
    torch.manual_seed(0)
    torchaudio.load = load
    import msclap
    from msclap import CLAP
    from msclap.models import clap as networks

    config = yaml.safe_load((Path(msclap.__file__).parent / "configs" / f"config_{version}.yml").read_text())
    write_text_model(work / config["text_model"], work)
    network = networks.CLAP(
        *(config[key] for key in ("audioenc_name", "sampling_rate", "window_size", "hop_size", "mel_bins")),
        *(config[key] for key in ("fmin", "fmax", "num_classes", "out_emb", "text_model", "transformer_embed_dim")),
        config["d_proj"],
    )
    randomise(network)
    torch.save({"model": network.state_dict()}, work / "weights.pth")
    del network
    clap = CLAP(model_fp=work / "weights.pth", version=version)
    base = clap.clap.audio_encoder.base
    base = getattr(base, "htsat", base)
    mels, audio = [], []
    with torch.no_grad():
        for path, _ in clips(work):
            waveform = clap.load_audio_into_tensor(str(path), config["duration"], resample=True)
            mels.append(base.logmel_extractor(base.spectrogram_extractor(waveform[None]))[0, 0].numpy())
            audio.append(clap.get_audio_embeddings([str(path)])[0])
        text = clap.get_text_embeddings(prompts(work))
        audio_embeddings = torch.stack(audio)
        logits = clap.compute_similarity(audio_embeddings, text)
    write(
        work,
        mel=np.stack(mels),
        audio=torch.nn.functional.normalize(audio_embeddings, dim=-1),
        text=torch.nn.functional.normalize(text, dim=-1),
        logits=logits,
        keys=len(torch.load(work / "weights.pth", weights_only=True)["model"]),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
