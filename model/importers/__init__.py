"""Everyone's CLAP: the released checkpoints of other projects, turned into checkpoint directories of this one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from model.checkpoint import CheckpointError

if TYPE_CHECKING:
    from model.importers.imported import Imported

KINDS = {
    "transformers": "the directory of a transformers ClapModel",
}
"""What can be imported, and what its source is."""


def read(kind: str, source: Path, name: str | None = None) -> Imported:
    """Read `source`, named `name` from then on. Raises CheckpointError saying what is wrong with it."""
    if kind not in KINDS:
        raise CheckpointError(f"unknown kind {kind!r}: {', '.join(KINDS)}")
    if not source.exists():
        raise CheckpointError(f"{source} does not exist")
    importer = import_module(f"model.importers.{kind.replace('-', '_')}")
    imported: Imported = importer.load(source, name)
    return imported
