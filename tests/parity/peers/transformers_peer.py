"""transformers' ClapModel with random weights, saved by save_pretrained: WORK unfused|fused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from random_weights import clips, prompts, randomise, write
from tokenizers_on_disk import byte_level
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizer


def main(work: Path, fused: bool) -> None:
    torch.manual_seed(0)
    folder = work / "weights"
    audio_config = {"enable_fusion": fused, "fusion_type": "aff_2d" if fused else None}
    made = ClapModel(ClapConfig(text_config={}, audio_config=audio_config))
    randomise(made)
    made.save_pretrained(folder)
    del made
    byte_level(folder, prompts(work), ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], [])
    extractor = ClapFeatureExtractor(frequency_min=50, truncation="fusion" if fused else "rand_trunc")
    ClapProcessor(extractor, RobertaTokenizer.from_pretrained(folder)).save_pretrained(folder)

    clap = ClapModel.from_pretrained(folder).eval()
    processor = ClapProcessor.from_pretrained(folder)
    mels, rows, audio, text = [], [], [], None
    with torch.no_grad():
        for _, samples in clips(work):
            inputs = processor(
                audio=samples, text=prompts(work), sampling_rate=48_000, return_tensors="pt", padding=True
            )
            inputs["input_features"] = inputs["input_features"].float()
            mels.append(inputs["input_features"][0, -1].numpy())
            said = clap(**inputs)
            rows.append(said.logits_per_audio[0])
            audio.append(said.audio_embeds[0])
            text = said.text_embeds
    write(work, mel=np.stack(mels), audio=torch.stack(audio), text=text, logits=torch.stack(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "fused")
