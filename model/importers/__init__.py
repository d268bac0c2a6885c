"""Everyone's CLAP: the released checkpoints of other projects, turned into checkpoint directories of this one."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from model.checkpoint import CheckpointError

if TYPE_CHECKING:
    from model.importers.imported import Imported


class Kind(NamedTuple):
    """An importer, what it reads, and the hub id of the tokenizer that its files lack."""

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


def read(kind: str, source: Path, name: str | None = None, tokenizer: Path | None = None) -> Imported:
    """Read `source`, named `name` from then on. Raises CheckpointError saying what is wrong with it.

    `tokenizer` is a directory; without one, a kind whose files hold none takes its own from the hub.
    """
    if kind not in KINDS:
        raise CheckpointError(f"unknown kind {kind!r}: {', '.join(KINDS)}")
    if not source.exists():
        raise CheckpointError(f"{source} does not exist")
    importer, _, default, takes_tokenizer = KINDS[kind]
    module, function = importer.split(".")
    load: Callable[..., Imported] = getattr(import_module(f"model.importers.{module}"), function)
    if not takes_tokenizer:
        return load(source, name)
    if tokenizer is None and default is not None:
        from model.hub import fetch_tokenizer

        tokenizer = fetch_tokenizer(default)
    return load(source, name, tokenizer)
