"""laion_clap with random weights, saved as its training saves them: WORK HTSAT-tiny|HTSAT-base|PANN-14 [fused]."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
from random_weights import clips, prompts, randomise, write
from tokenizers_on_disk import bert, byte_level
from transformers import RobertaConfig, RobertaModel, RobertaTokenizer


def main(work: Path, audio_model: str, fused: bool) -> None:
    os.chdir(work)
    sys.argv = sys.argv[:1]  # the package reads the command line when it is imported
    torch.manual_seed(0)
    folder, unused = work / "roberta-base", (work / "bert-base-uncased", work / "facebook" / "bart-base")
    for tokenizer in (folder, *unused):
        tokenizer.mkdir(parents=True)
    config = RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1
    )
    RobertaModel(config).save_pretrained(folder)
    byte_level(folder, prompts(work), ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], [])
    RobertaTokenizer.from_pretrained(folder).save_pretrained(folder)
    # The package reads these when it is imported.
    bert(unused[0])
    byte_level(unused[1], prompts(work), ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], [])

    import laion_clap
    from laion_clap.training.data import get_audio_features

    def module() -> torch.nn.Module:
        return laion_clap.CLAP_Module(enable_fusion=fused, device="cpu", amodel=audio_model)

    network = module()
    randomise(network.model)
    state = {f"module.{key}": value for key, value in network.model.state_dict().items()}
    # The released files have it; laion_clap takes it out when it loads them.
    state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    saved = {"epoch": 1, "name": "parity", "state_dict": state, "optimizer": {"lr": np.float64(1e-4)}}
    torch.save(saved, work / "weights.pt")
    del network, state
    clap = module()
    clap.load_ckpt(str(work / "weights.pt"), verbose=False)
    clap.eval()
    mels, audio = [], []
    branch = clap.model.audio_branch
    with torch.no_grad():
        for _, samples in clips(work):
            waveform = torch.from_numpy(samples)
            features = get_audio_features(
                {},
                waveform,
                480_000,
                data_truncating="fusion" if fused else "rand_trunc",
                data_filling="repeatpad",
                audio_cfg=clap.model_cfg["audio_cfg"],
            )
            if fused:
                mels.append(features["mel_fusion"][0].numpy())
            else:
                mel = branch.logmel_extractor(branch.spectrogram_extractor(features["waveform"][None]))
                mels.append(mel[0, 0].numpy())
            audio.append(clap.get_audio_embedding_from_data([waveform], use_tensor=True)[0])
        embeddings = torch.stack(audio)
        text = clap.get_text_embedding(prompts(work), use_tensor=True)
        logits = clap.model.logit_scale_a.exp() * embeddings @ text.T
    write(work, mel=np.stack(mels), audio=embeddings, text=text, logits=logits)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], "fused" in sys.argv[3:])
