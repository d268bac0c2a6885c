"""Files of `torch.save`, read without running code from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

# What torch.load raises for a file that is damaged or of another format.
_UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    UnpicklingError,
)


class TorchFileError(ValueError):
    """The file cannot be read; the message names it and the cause."""


def read_torch_file(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """What `torch.save` wrote to `path`, on the CPU: tensors, plain containers and the types in `allowed`.

    Raises TorchFileError for a file that is missing, damaged, of another format, or that holds other objects.
    """
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise TorchFileError(f"{path} cannot be read: {cause}") from None
