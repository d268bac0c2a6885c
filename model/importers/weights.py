"""Weights of other projects, copied key by key. A missing, unknown or misshapen key is an error."""

from __future__ import annotations

import codecs
import hashlib
import json
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.checkpoint import CheckpointError, stored_keys
from model.clap import Clap
from model.stand_in import stand_in

State = dict[str, Tensor]

# laion_clap saves its optimiser too, whose learning rate is a NumPy number. Loading these runs no code.
SCALAR = cast("Callable[..., Any]", np.float64().__reduce__()[0])
NUMPY_NUMBERS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *((SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    (np.dtype, "numpy.dtype"),
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64")),
    (codecs.encode, "_codecs.encode"),
]


@dataclass(frozen=True)
class Third:
    """One of the three equal row blocks of a tensor: query (0), key (1) or value (2) of a joint projection."""

    key: str
    index: int


Origin = Callable[[str], "str | Third"]
"""Maps a key of `Clap` to its place in the file."""


@dataclass(frozen=True)
class Weights:
    """A state dict and the files it was read from, with their SHA-256."""

    state: State
    files: dict[Path, str]

    @property
    def file(self) -> Path:
        """The file to name in an error."""
        return next(iter(self.files))

    def without_prefix(self, prefix: str) -> Weights:
        """The same without `prefix`, which DataParallel puts in front of every key."""
        return Weights({key.removeprefix(prefix): value for key, value in self.state.items()}, self.files)


@dataclass(frozen=True)
class Leftovers:
    """Keys of a file that the model does not load.

    `constants` are compared with the values that the model computes; `unused` maps patterns of keys to the reason to
    leave them out. The file may lack either.
    """

    constants: Mapping[str, Tensor] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_pickle(path: Path, member: str | None = None) -> Weights:
    """A state dict saved by torch.save, or the `member` of a saved dict that is one.

    Only tensors, numbers and plain containers are read; a file that would run code is refused. Raises CheckpointError.
    """
    refuse_stand_in(path)
    try:
        with torch.serialization.safe_globals(NUMPY_NUMBERS):
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as weights alone: {detail}") from None
    state = saved.get(member) if member is not None and isinstance(saved, dict) else saved
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        place = f" under {member!r}" if member is not None else ""
        raise CheckpointError(f"{path} holds no state dict{place}")
    return Weights(dict(state), {path: sha256(path)})


def refuse_stand_in(path: Path) -> None:
    """Raises CheckpointError where a file cannot be read, or is what a failed download left."""
    try:
        found = stand_in(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    if found is not None:
        raise CheckpointError(f"{path} {found}")


def read_folder(folder: Path) -> Weights:
    """The weights of a transformers directory: safetensors or else pytorch_model.bin, each in one file or several.

    Raises CheckpointError.
    """
    for name, read in (("model.safetensors", read_safetensors), ("pytorch_model.bin", read_pickle)):
        if (index := folder / f"{name}.index.json").exists():
            return joined([read(shard) for shard in shards(index)])
        if (folder / name).exists():
            return read(folder / name)
    raise CheckpointError(f"{folder} holds neither model.safetensors nor pytorch_model.bin")


def read_safetensors(path: Path) -> Weights:
    """Raises CheckpointError."""
    refuse_stand_in(path)
    try:
        return Weights(load_file(path), {path: sha256(path)})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def shards(index: Path) -> list[Path]:
    """The files that an index of weights names, all in its folder. Raises CheckpointError."""
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except OSError as error:
        raise CheckpointError(f"{index} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{index} is not an index of weights: it has no weight_map") from None
    if not names or any(not isinstance(name, str) or name in (".", "..") or Path(name).name != name for name in names):
        raise CheckpointError(f"{index} names files that are not beside it")
    return [index.parent / name for name in sorted(names)]


def joined(parts: list[Weights]) -> Weights:
    """The weights of several files as one state dict. Raises CheckpointError for a key that two files hold."""
    state: State = {}
    files: dict[Path, str] = {}
    for part in parts:
        if twice := sorted(state.keys() & part.state.keys()):
            raise CheckpointError(f"{part.file} holds {twice[0]}, which another file holds too")
        state |= part.state
        files |= part.files
    return Weights(state, files)


def take_over(
    model: Clap, weights: Weights, origin: Origin, computed: Mapping[str, Tensor], leftovers: Leftovers
) -> list[str]:
    """Fill every stored key of `model`, from the file by `origin` or from `computed`.

    Returns a note for everything that was left out. Raises CheckpointError naming the file's key that is missing,
    unknown, of a wrong shape, not finite, or a constant of another value.
    """
    current = model.state_dict()
    filled: State = {}
    used = set()
    for target in sorted(stored_keys(model)):
        if target in computed:
            filled[target] = fitting(computed[target], current[target], target, weights.file)
            continue
        source = origin(target)
        key, index = (source.key, source.index) if isinstance(source, Third) else (source, None)
        if key not in weights.state:
            raise CheckpointError(f"{weights.file} lacks {key}")
        used.add(key)
        value = weights.state[key]
        if index is not None:
            if value.ndim == 0 or len(value) != 3 * len(current[target]):
                raise CheckpointError(
                    f"{weights.file}: {key} is {tuple(value.shape)}, not three {current[target].shape}"
                )
            value = value.chunk(3)[index]
        filled[target] = fitting(value, current[target], key, weights.file)
    notes = account(weights, weights.state.keys() - used, leftovers)
    model.load_state_dict(filled, strict=False)
    return notes


def fitting(value: Tensor, wanted: Tensor, key: str, file: Path) -> Tensor:
    """`value` in the dtype of `wanted`. Raises CheckpointError if the shape differs or a value is not finite."""
    if value.shape != wanted.shape:
        raise CheckpointError(f"{file}: {key} is {tuple(value.shape)}, not {tuple(wanted.shape)}")
    if value.is_floating_point() and not bool(value.isfinite().all()):
        raise CheckpointError(f"{file}: {key} is not finite")
    return value.to(wanted.dtype)


def rounding(value: Tensor) -> float:
    """The relative error of storing numbers in the dtype of `value`: 0 for float32 and above."""
    halved = value.dtype in (torch.float16, torch.bfloat16)
    return torch.finfo(value.dtype).eps if halved else 0.0


def account(weights: Weights, left: set[str], leftovers: Leftovers) -> list[str]:
    """One note per reason to leave keys out. Raises CheckpointError for a key without a reason."""
    notes: dict[str, list[str]] = {}
    for key in sorted(left):
        if key in leftovers.constants:
            check_constant(weights.state[key], leftovers.constants[key], key, weights.file)
            notes.setdefault("the model computes it", []).append(key)
            continue
        reason = next((why for pattern, why in leftovers.unused.items() if re.fullmatch(pattern, key)), None)
        if reason is None:
            raise CheckpointError(f"{weights.file} has the unknown key {key}")
        notes.setdefault(reason, []).append(key)
    return [f"left out {', '.join(keys)}: {reason}" for reason, keys in notes.items()]


def check_constant(value: Tensor, expected: Tensor, key: str, file: Path) -> None:
    """Raises CheckpointError unless `value` is `expected`, up to the precision that it is stored in."""
    precision = rounding(value)
    value = fitting(value, expected, key, file)
    if not torch.allclose(value.double(), expected.double(), rtol=precision, atol=1e-5):
        raise CheckpointError(f"{file}: {key} is not the constant that this model computes")
