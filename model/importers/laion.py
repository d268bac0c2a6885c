"""laion_clap's own .pt files: HTSAT (tiny, base, large; with and without fusion) or PANN-14, with RoBERTa or BERT."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from model.clap import Clap
from model.config import ClapConfig, Cnn14Config, FrontEndConfig, ProjectionConfig, PromptConfig, TextEncoderConfig
from model.front_end import mel_matrix
from model.htsat import Htsat
from model.importers import htsat, text, torchlibrosa
from model.importers.imported import Imported, sources
from model.importers.weights import Leftovers, Third, read_pickle, take_over

AUDIO = "audio_branch."
TEXT = "text_branch."
MEL = "audio_encoder.base.logmel_extractor.melW"
MAX_TOKENS = 77

UNUSED = {
    "logit_scale_t": "it scales text-to-audio retrieval; classification is scaled by logit_scale_a",
    r"(audio|text)_transform\.sequential\.\d+\.(weight|bias)": "layers of the training loss alone",
}


def load(path: Path, name: str | None, tokenizer: Path) -> Imported:
    """48 kHz, 10 s. Raises CheckpointError naming the key that does not fit."""
    weights = read_pickle(path, "state_dict").without_prefix("module.")
    asked = FrontEndConfig(
        sample_rate=48_000, hop_length=480, window_s=10.0, window_hop_s=10.0, padding="repeat_whole", f_max=14_000.0
    )
    pann = f"{AUDIO}conv_block1.conv1.weight" in weights.state
    encoder = Cnn14Config() if pann else htsat.config(weights, AUDIO)
    fused = not isinstance(encoder, Cnn14Config) and encoder.fused
    front_end, band = torchlibrosa.front_end(weights, f"{AUDIO}logmel_extractor.melW", asked, (48_000,))
    unused = dict(UNUSED) if pann else UNUSED | htsat.heads(AUDIO)
    computed: dict[str, Tensor] = {}
    if fused:
        # Fused models read spectrograms made outside the network, by torchaudio with its default mel matrix.
        front_end = asked.model_copy(update={"mel_scale": "htk", "f_min": 50.0})
        computed[MEL] = mel_matrix(front_end)
        unused[r"audio_branch\.logmel_extractor\.melW"] = band = "a fused model reads torchaudio's spectrogram"
    architecture = text.bert(weights, TEXT)
    head = ProjectionConfig(kind="mlp")
    model = Clap(
        ClapConfig(
            name=name or path.stem,
            front_end=front_end,
            audio_encoder=encoder,
            text_encoder=TextEncoderConfig(architecture=architecture, pooling="pooler", max_tokens=MAX_TOKENS),
            audio_projection=head,
            text_projection=head,
            joint_dim=text.rows_and_columns(weights, "audio_projection.0.weight")[0],
            prompts=PromptConfig(template="This is a sound of {label}."),
            sources=sources(weights.files),
        )
    )
    constants = {
        **torchlibrosa.fourier_kernels(f"{AUDIO}spectrogram_extractor.", front_end.n_fft),
        f"{TEXT}embeddings.position_ids": torch.arange(int(architecture["max_position_embeddings"]))[None],
    }
    base = model.audio_encoder.base
    if isinstance(base, Htsat):
        constants |= htsat.masks(base.htsat, AUDIO)
    notes = take_over(model, weights, origin, computed, Leftovers(constants, unused))
    read_with = text.tokenizer(tokenizer, architecture["vocab_size"], MAX_TOKENS)
    return Imported(model.eval(), read_with, weights.files, (band, *notes))


def origin(key: str) -> str | Third:
    inner = "audio_encoder.base.htsat.audio_encoder."
    if key.startswith(inner):
        found = htsat.origin(key.removeprefix(inner))
        return Third(AUDIO + found.key, found.index) if isinstance(found, Third) else AUDIO + found
    for ours, theirs in (
        ("audio_encoder.projection.linear1.", "audio_projection.0."),
        ("audio_encoder.projection.linear2.", "audio_projection.2."),
        ("caption_encoder.projection.linear1.", "text_projection.0."),
        ("caption_encoder.projection.linear2.", "text_projection.2."),
        ("audio_encoder.base.", AUDIO),
        ("caption_encoder.base.", TEXT),
    ):
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return "logit_scale_a" if key == "logit_scale" else key
