"""Other projects' models in small: their own classes where they are installed, their own key names always."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer
from torch import nn
from transformers import ClapAudioModel, ClapFeatureExtractor, ClapModel, GPT2Tokenizer, RobertaTokenizer
from transformers import ClapConfig as TransformersConfig

from model.checkpoint import stored_keys
from model.clap import Clap
from model.config import ClapConfig, FrontEndConfig, HtsatConfig, ProjectionConfig, TextEncoderConfig
from model.front_end import mel_matrix
from model.htsat import architecture
from model.importers import laion, msclap
from model.importers.htsat import masks
from model.importers.torchlibrosa import fourier_kernels
from model.importers.weights import Origin, State, Third

SENTENCES = ["this is a sound of the dog rain cat siren"] * 10


def randomise(model: nn.Module) -> None:
    """Weights large enough, and statistics other than 0 and 1: nothing that is misplaced may look right."""
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point() and value.ndim > 0 and "logmel_extractor" not in name:
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
        TransformersConfig(
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


TINY_HTSAT = HtsatConfig(width=8, stage_depths=(2, 1), stage_heads=(1, 2), fuse_windows=False)
LAION_FRONT_END = FrontEndConfig(
    sample_rate=48_000, hop_length=480, f_max=14_000, window_s=10, window_hop_s=10, padding="repeat_whole"
)
ROBERTA = {
    "model_type": "roberta",
    "vocab_size": 320,
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 32,
    "max_position_embeddings": 80,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}


def as_released(model: Clap, origin: Origin) -> State:
    """The state dict of `model` under the key names of the project that `origin` knows."""
    state: State = {}
    thirds: dict[str, list[torch.Tensor]] = {}
    values = model.state_dict()
    for key in sorted(stored_keys(model)):
        source = origin(key)
        if isinstance(source, Third):
            thirds.setdefault(source.key, [torch.empty(0)] * 3)[source.index] = values[key]
        else:
            state[source] = values[key]
    return state | {key: torch.cat(parts) for key, parts in thirds.items()}


def untrained(config: ClapConfig) -> Clap:
    torch.manual_seed(0)
    model = Clap(config).eval()
    randomise(model)
    return model


def first_masks(state: State, htsat: str) -> None:
    """The attention mask of HTSAT's first shifted block, which its authors keep in the weights."""
    model = ClapAudioModel(architecture(TINY_HTSAT, 64))
    state |= masks(model, htsat)


def write_gpt2_tokenizer(folder: Path) -> Path:
    folder.mkdir()
    write_bpe(folder, [])
    change_json(folder / "vocab.json", **{"<|endoftext|>": len(json.loads((folder / "vocab.json").read_text()))})
    GPT2Tokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def write_roberta_tokenizer(folder: Path) -> Path:
    folder.mkdir()
    write_bpe(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    RobertaTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def write_msclap_2023(path: Path, **changes: torch.Tensor | None) -> Clap:
    """A CLAP_weights_2023.pth in small, as DataParallel saves it, with old transformers' constants."""
    gpt2 = {
        "model_type": "gpt2",
        "vocab_size": 320,
        "n_positions": 80,
        "n_embd": 64,
        "n_layer": 1,
        "n_head": 1,
        "eos_token_id": 2,
    }
    model = untrained(
        ClapConfig(
            name="msclap-2023",
            front_end=FrontEndConfig(window_s=7, window_hop_s=7, f_max=14_000),
            audio_encoder=TINY_HTSAT,
            text_encoder=TextEncoderConfig(
                architecture={**gpt2, "n_inner": 32}, pooling="last", max_tokens=77, suffix=" <|endoftext|>"
            ),
            audio_projection=ProjectionConfig(kind="residual"),
            text_projection=ProjectionConfig(kind="residual"),
            joint_dim=12,
        )
    )
    state = as_released(model, msclap.origin_2023)
    state |= fourier_kernels(f"{msclap.HTSAT}spectrogram_extractor.", 1024)
    state |= {f"{msclap.HTSAT}tscam_conv.bias": torch.ones(5), f"{msclap.HTSAT}head.weight": torch.ones(5, 5)}
    state |= {f"{msclap.TEXT}h.0.attn.bias": torch.ones(80, 80, dtype=torch.bool).tril()[None, None]}
    first_masks(state, msclap.HTSAT)
    save_pickle(path, "model", state, changes)
    return model


def write_laion(path: Path, fused: bool, changes: dict[str, torch.Tensor | None]) -> Clap:
    """A laion_clap .pt in small."""
    head = ProjectionConfig(kind="mlp")
    fusion = {"fused": True, "fusion_squeeze": 2} if fused else {}
    model = untrained(
        ClapConfig(
            name=path.stem,
            front_end=LAION_FRONT_END.model_copy(update={"mel_scale": "htk" if fused else "slaney"}),
            audio_encoder=TINY_HTSAT.model_copy(update=fusion),
            text_encoder=TextEncoderConfig(architecture=ROBERTA, pooling="pooler", max_tokens=77),
            audio_projection=head,
            text_projection=head,
            joint_dim=12,
        )
    )
    state = as_released(model, laion.origin)
    state["audio_branch.logmel_extractor.melW"] = mel_matrix(LAION_FRONT_END)
    state |= fourier_kernels("audio_branch.spectrogram_extractor.", 1024)
    state |= {
        "logit_scale_t": torch.tensor(1.0),
        "audio_transform.sequential.0.weight": torch.ones(2, 2),
        "text_branch.embeddings.position_ids": torch.arange(80)[None],
        "audio_branch.tscam_conv.bias": torch.ones(5),
    }
    first_masks(state, "audio_branch.")
    save_pickle(path, "state_dict", state, changes)
    return model


def save_pickle(path: Path, member: str, state: State, changes: dict[str, torch.Tensor | None]) -> None:
    """Save every tensor under the prefix `module.`, with `changes` applied; None leaves a tensor out."""
    changed = {key: value for key, value in {**state, **changes}.items() if value is not None}
    torch.save({"epoch": 3, member: {f"module.{key}": value for key, value in changed.items()}}, path)
