"""Released checkpoints of other projects, converted to checkpoint directories of this one."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from model.checkpoint import CheckpointError

if TYPE_CHECKING:
    from model.importers.imported import Imported


class Kind(NamedTuple):
    """An importer: its function, what it reads, and where its tokenizer comes from if not from the files.

    `tokenizer` is the hub id of the tokenizer that the model was trained with. `takes_tokenizer` says whether a
    tokenizer directory may be given.
    """

    importer: str
    source: str
    tokenizer: str | None = None
    takes_tokenizer: bool = False


KINDS = {
    "transformers": Kind("transformers.load", "directory of a transformers ClapModel"),
    "msclap-2022": Kind("msclap.load_2022", "CLAP_weights_2022.pth", takes_tokenizer=True),
    "msclap-2023": Kind("msclap.load_2023", "CLAP_weights_2023.pth", "openai-community/gpt2", True),
    "laion": Kind("laion.load", ".pt file of laion_clap", "FacebookAI/roberta-base", True),
    "panns": Kind("panns.load", "Cnn14 .pth file, an audio encoder to train from"),
    "efficientat": Kind("efficientat.load", "mn .pt file, an audio encoder to train from"),
}


def kind_of(name: str) -> Kind:
    """Raises CheckpointError for a kind that does not exist."""
    if name not in KINDS:
        raise CheckpointError(f"unknown kind {name!r}: {', '.join(KINDS)}")
    return KINDS[name]


def read(kind: str, source: Path, name: str | None = None, tokenizer: Path | None = None) -> Imported:
    """Read `source` as a model called `name` (by default after its file). Raises CheckpointError naming the fault.

    `tokenizer` is a directory, needed for the kinds that have a hub id for it: `model.hub.import_model` fetches it.
    """
    importer, _, hub_id, takes_tokenizer = kind_of(kind)
    if not source.exists():
        raise CheckpointError(f"{source} does not exist")
    module, function = importer.split(".")
    load: Callable[..., Imported] = getattr(import_module(f"model.importers.{module}"), function)
    if not takes_tokenizer:
        return load(source, name)
    if tokenizer is None and hub_id is not None:
        raise CheckpointError(f"{source} holds no tokenizer: give the directory of {hub_id}'s")
    return load(source, name, tokenizer)
