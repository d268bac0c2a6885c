"""The model that a run starts from: built as the recipe describes, with the weights it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from model import checkpoint as checkpoints
from model.clap import Clap
from model.config import ClapConfig, TextEncoderConfig
from model.htsat import Htsat
from model.importers import htsat
from model.importers.weights import Third
from model.text import TextWeightsError, Tokenizer, package_folder
from training.recipe import Recipe, RecipeError, start_config, start_folder
from training.tagging.tagger import class_labels
from training.torch_files import TorchFileError, read_torch_file

# Front end and augmentation in the released files; the front end is built from the recipe instead.
FRONT_END = ("spectrogram_extractor.", "logmel_extractor.", "spec_augmenter.")
_rebuild_array, _rebuild_scalar = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]
NUMPY: list[Any] = [
    *((_rebuild_array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_rebuild_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("b", "i1", "i2", "i4", "i8", "f4", "f8")),
]
NO_PART_OF_IT = ("transformers_version", "architectures", "_name_or_path")
PREFIX = re.compile(r"^(module\.|sed_model\.)+")
"""What DataParallel and HTS-AT's authors put before each key."""
UNUSED = re.compile(r"tscam_conv\.|head\.|layers\.\d+\.blocks\.\d+\.attn_mask")
"""HTS-AT's class heads, and masks that the encoder computes."""
PAD = "!"
"""The padding of a tokenizer without one (GPT-2's): id 0, as in the released CLAPs of Microsoft."""
HEADS = ("fc_audioset.", "classifier.")
FREE: Any = {
    **dict.fromkeys(("name", "prompts", "licence", "sources", "training", "example_scale"), True),
    "front_end": {"window_s", "window_hop_s", "padding"},
}
"""What a run may change in the config of the checkpoint it starts from."""


def check_paths(recipe: Recipe, data: Path) -> None:
    """Raises RecipeError where a file or folder that `recipe.start` needs does not exist."""
    start = recipe.start
    paths = {f"start.{name}": getattr(start, name) for name in ("audio", "text")}
    if start.head is not None and start.audio is not None:
        paths["start.head"] = class_labels(start.audio)
    for place, path in paths.items():
        if path is not None and not (data / path).exists():
            raise RecipeError(f"{place}: there is no {data / path}")
    if start.checkpoint is not None:
        check_same_model(recipe.checkpoint, start_config(start.checkpoint, data), start.checkpoint)


def check_same_model(wanted: ClapConfig, found: ClapConfig, where: str) -> None:
    """Raises RecipeError naming the first member in which the recipe's model is not that of the checkpoint `where`.

    Windows and padding may differ: the weights do not depend on them.
    """
    for place, mine in leaves(wanted.model_dump(mode="json", exclude=FREE)).items():
        theirs = leaves(found.model_dump(mode="json", exclude=FREE)).get(place)
        if mine != theirs:
            raise RecipeError(
                f"checkpoint.{place} is {mine}, but {theirs} in start.checkpoint ({where}); "
                "leave `checkpoint` out of the recipe to take the config of start.checkpoint"
            )


def leaves(members: Any, place: str = "") -> dict[str, Any]:
    """The values of nested members by their dotted places."""
    if not isinstance(members, dict):
        return {place: members}
    return {
        inner: value
        for name, member in members.items()
        for inner, value in leaves(member, f"{place}.{name}" if place else name).items()
    }


def build(recipe: Recipe, data: Path) -> tuple[Clap, Tokenizer]:
    """The model and its tokenizer. Untrained parts depend on the seed alone. Raises RecipeError."""
    torch.manual_seed(recipe.seed)
    start, text = recipe.start, recipe.checkpoint.text_encoder
    try:
        clap = Clap(recipe.checkpoint)
        if start.text is not None:
            folder = data / start.text
        elif text.package is not None:
            folder = package_folder(text)
        else:
            folder = start_folder(start.checkpoint or ".", data)
        tokenizer = Tokenizer(folder, text.max_tokens, text.suffix)
        if tokenizer.inner.pad_token is None:
            tokenizer.inner.add_special_tokens({"pad_token": PAD})
        if start.checkpoint is not None:
            clap.load_state_dict(checkpoints.load(start_folder(start.checkpoint, data)).model.state_dict())
    except (TextWeightsError, checkpoints.CheckpointError, OSError, ValueError, RuntimeError) as error:
        raise RecipeError(f"the model cannot be built: {error}") from None
    if start.audio is not None:
        load_audio(clap.audio_encoder.base, data / start.audio)
    if start.text is not None and start.text_weights:
        load_text(clap.caption_encoder.base, data / start.text / "model.safetensors")
    if text.package is not None and not recipe.freeze.text:
        clap.config = clap.config.model_copy(update={"text_encoder": held(clap.caption_encoder.base, text)})
    return clap, tokenizer


def held(base: nn.Module, text: TextEncoderConfig) -> TextEncoderConfig:
    """The config of a packaged text encoder that is trained further: its weights are stored in the checkpoint."""
    described: dict[str, Any] = base.config.to_diff_dict()  # type: ignore[operator, union-attr]
    architecture = {name: value for name, value in described.items() if name not in NO_PART_OF_IT}
    return TextEncoderConfig(
        architecture=architecture, pooling=text.pooling, max_tokens=text.max_tokens, suffix=text.suffix
    )


def load_audio(base: nn.Module, path: Path) -> None:
    """Load released CNN14 (PANNs), MobileNet (EfficientAT) or HTS-AT weights, without front end and unused heads.

    Raises RecipeError naming a key that is missing, unknown or of another shape.
    """
    state = {PREFIX.sub("", key): value for key, value in tensors(path).items()}
    state = {key: value for key, value in state.items() if not key.startswith(FRONT_END)}
    if isinstance(base, Htsat):
        state = htsat_state(base, state)
    wanted = base.state_dict()
    heads = tuple(head for head in HEADS if not any(key.startswith(head) for key in wanted))
    state = {key: value for key, value in state.items() if not key.startswith(heads)}
    _load(base, state, path, allowed_missing=FRONT_END)


def htsat_state(base: Htsat, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """HTS-AT's weights under our keys. The file's own names are kept for what the encoder does not have."""
    prefix = "htsat.audio_encoder."
    renamed: dict[str, Tensor] = {}
    used = set()
    for key in (name for name in base.state_dict() if name.startswith(prefix)):
        origin = htsat.origin(key.removeprefix(prefix))
        name = origin.key if isinstance(origin, Third) else origin
        if name in state:
            used.add(name)
            renamed[key] = state[name].chunk(3)[origin.index] if isinstance(origin, Third) else state[name]
    return renamed | {key: value for key, value in state.items() if key not in used and not UNUSED.match(key)}


def load_text(base: nn.Module, path: Path) -> None:
    """Load a transformers model's `model.safetensors`. Raises RecipeError as `load_audio` does."""
    wanted = base.state_dict()
    state = {}
    for key, value in tensors(path).items():
        # Whole models such as BertForMaskedLM have the encoder under a prefix, and heads beside it.
        name = key if key in wanted else key.split(".", 1)[-1]
        # The oldest BERT files have TensorFlow's names for LayerNorm.
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        if name in wanted:
            state[name] = value
    _load(base, state, path, allowed_missing=("pooler.",))


def _load(base: nn.Module, state: dict[str, Tensor], path: Path, allowed_missing: tuple[str, ...]) -> None:
    wanted = base.state_dict()
    if missing := [key for key in wanted if key not in state and not key.startswith(allowed_missing)]:
        raise RecipeError(f"{path} lacks {missing[0]}: it is not the recipe's encoder")
    if unknown := [key for key in state if key not in wanted]:
        raise RecipeError(f"{path} has {unknown[0]}, which the recipe's encoder does not have")
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            raise RecipeError(f"{path}: {key} is {tuple(value.shape)}, the recipe's {tuple(wanted[key].shape)}")
    base.load_state_dict(state, strict=False)


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or PyTorch file, read without running code. Raises RecipeError."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # PANNs' files hold their sampler's arrays beside the weights.
        content = read_torch_file(path, NUMPY)
    except (SafetensorError, OSError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from None
    except TorchFileError as error:
        raise RecipeError(str(error)) from None
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise RecipeError(f"{path} holds no weights")
    return tensors
