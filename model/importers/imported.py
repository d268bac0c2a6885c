"""The result of an importer: a model with its tokenizer, its source files and notes on the import."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from model.checkpoint import CheckpointError, save
from model.clap import Clap
from model.text import Tokenizer


@dataclass(frozen=True)
class Imported:
    """`files` maps the weight files that were read to their SHA-256; `notes` say what was kept or left out."""

    model: Clap
    tokenizer: Tokenizer
    files: dict[Path, str]
    notes: tuple[str, ...]

    def from_hub(self, place: str) -> None:
        """Add the repository and commit of the files to the config's sources."""
        config = self.model.config
        self.model.config = config.model_copy(update={"sources": (place, *config.sources)})

    def write(self, folder: Path) -> None:
        """Write a checkpoint directory atomically. Raises CheckpointError if `folder` is not empty."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CheckpointError(f"{folder} is not empty")
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        save(self.model, partial, self.tokenizer)
        (partial / "README.md").write_text(self.card(), encoding="utf-8")
        partial.rename(folder)

    def card(self) -> str:
        """The model card, without figures: an imported checkpoint was not measured."""
        config = self.model.config
        lines = [
            f"# {config.name}",
            "",
            "Imported by `anysound checkpoint import`; nothing was trained here. Licence: "
            f"{config.licence or 'see where the weights are from'}.",
            "",
            *(f"- from {source}" for source in config.sources),
            *(f"- {note}" for note in self.notes),
        ]
        return "\n".join(lines) + "\n"


def sources(files: dict[Path, str]) -> tuple[str, ...]:
    """The config's sources: each file's name and SHA-256."""
    return tuple(f"{path.name}, SHA-256 {digest}" for path, digest in files.items())
