"""Checkpoint directories: `config.json`, `model.safetensors`, tokenizer files, `README.md`.

Loading is strict: an unknown, missing or misshapen key is an error. No pickle is read. Weights may be stored in half
precision and are loaded as float32. A text encoder from a Python package is not stored (`TextEncoderConfig`).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.clap import Clap
from model.config import BUNDLED, ClapConfig, ExampleScale, TextEncoderConfig
from model.faults import first_fault
from model.stand_in import stand_in
from model.text import TextWeightsError, Tokenizer, package_folder

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
DEFAULT = BUNDLED
PACKAGED = "caption_encoder.base."


class CheckpointError(ValueError):
    """A directory that cannot be loaded as a checkpoint. The message names the file and the cause."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the model in evaluation mode, its tokenizer and its fingerprint."""

    folder: Path
    config: ClapConfig
    model: Clap
    tokenizer: Tokenizer
    fingerprint: str

    @property
    def logit_scale(self) -> float:
        return float(self.model.scale.detach())


def read_config(folder: Path) -> ClapConfig:
    """The typed `config.json`. Raises CheckpointError naming a member that is unknown, missing or out of bounds."""
    path = folder / CONFIG
    try:
        return ClapConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{folder} is not a checkpoint: {CONFIG} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        fault = first_fault(error)
        raise CheckpointError(f"{path}: {fault.place or 'the file'}: {fault.message}") from None


def tokenizer_folder(folder: Path, config: TextEncoderConfig) -> Path:
    return folder if config.package is None else package_folder(config)


def fingerprint(folder: Path) -> str:
    """SHA-256 over weights, tokenizer and config. The config holds the checksum of a packaged text encoder."""
    digest = hashlib.sha256()
    tokenizer = tokenizer_folder(folder, read_config(folder).text_encoder)
    files = [folder / CONFIG, folder / WEIGHTS, *(tokenizer / name for name in TOKENIZER_FILES)]
    for path in files:
        if path.exists():
            digest.update(path.name.encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def stored_keys(model: Clap) -> set[str]:
    """The state dict keys that a checkpoint of this model stores."""
    packaged = model.config.text_encoder.package is not None
    return {key for key in model.state_dict() if not (packaged and key.startswith(PACKAGED))}


def load(folder: Path | str, device: torch.device | str = "cpu") -> Checkpoint:
    """Load a checkpoint directory in evaluation mode. Raises CheckpointError naming the fault."""
    folder = Path(folder)
    config = read_config(folder)
    try:
        model = Clap(config)
        text = config.text_encoder
        tokenizer = Tokenizer(tokenizer_folder(folder, text), text.max_tokens, text.suffix)
    except TextWeightsError as error:
        raise CheckpointError(str(error)) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: {error}") from error
    _load_weights(model, folder / WEIGHTS)
    model.eval().requires_grad_(False)
    return Checkpoint(folder, config, model.to(device), tokenizer, fingerprint(folder))


def _load_weights(model: Clap, path: Path) -> None:
    try:
        if (found := stand_in(path)) is not None:
            raise CheckpointError(f"{path} {found}")
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    wanted = stored_keys(model)
    if missing := sorted(wanted - state.keys()):
        raise CheckpointError(f"{path} lacks {missing[0]}" + _more(missing))
    if unknown := sorted(state.keys() - wanted):
        raise CheckpointError(f"{path} has the unknown key {unknown[0]}" + _more(unknown))
    current = model.state_dict()
    for key, value in state.items():
        if value.shape != current[key].shape:
            raise CheckpointError(f"{path}: {key} is {tuple(value.shape)}, not {tuple(current[key].shape)}")
        if value.is_floating_point() and not math.isfinite(float(value.float().abs().sum())):
            raise CheckpointError(f"{path}: {key} is not finite")
    model.load_state_dict({key: value.to(current[key].dtype) for key, value in state.items()}, strict=False)


def _more(keys: list[str]) -> str:
    return f" and {len(keys) - 1} more" if len(keys) > 1 else ""


def save(model: Clap, folder: Path, tokenizer: Tokenizer | None = None, dtype: torch.dtype = torch.float32) -> None:
    """Write config, weights and, unless a package provides it, the tokenizer; each file atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    keep = stored_keys(model)
    state: dict[str, Tensor] = {
        key: value.detach().cpu().to(dtype if value.is_floating_point() else value.dtype).contiguous()
        for key, value in model.state_dict().items()
        if key in keep
    }
    weights = folder / f"{WEIGHTS}.partial"
    save_file(state, weights)
    weights.chmod(0o644)  # safetensors creates it readable by its owner only
    weights.rename(folder / WEIGHTS)
    _write_config(folder, model.config.model_dump(mode="json"))
    if tokenizer is not None and model.config.text_encoder.package is None:
        tokenizer.inner.save_pretrained(folder)


def calibrate(folder: Path, scale: ExampleScale) -> None:
    """Put the constants for examples into `config.json`, whose other members stay as they are written.

    The checkpoint gets another fingerprint. Raises CheckpointError and OSError.
    """
    read_config(folder)
    members = json.loads((folder / CONFIG).read_bytes())
    _write_config(folder, members | {"example_scale": scale.model_dump()})


def _write_config(folder: Path, members: dict[str, object]) -> None:
    partial = folder / f"{CONFIG}.partial"
    partial.write_text(json.dumps(members, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.rename(folder / CONFIG)
