"""What every importer makes: a model with its tokenizer, where it is from, and what was noticed on the way."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from model.checkpoint import CheckpointError, save
from model.clap import Clap
from model.text import Tokenizer


@dataclass(frozen=True)
class Imported:
    """`files` are the weights that were read, with their SHA-256; `notes` what was kept, left out or settled."""

    model: Clap
    tokenizer: Tokenizer
    files: dict[Path, str]
    notes: tuple[str, ...]

    def from_hub(self, place: str) -> None:
        """Say in the config where the files came from."""
        config = self.model.config
        self.model.config = config.model_copy(update={"sources": (place, *config.sources)})

    def write(self, folder: Path) -> None:
        """Write a checkpoint directory, whole or not at all. Raises CheckpointError where `folder` holds something."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CheckpointError(f"{folder} is not empty")
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        save(self.model, partial, self.tokenizer)
        (partial / "README.md").write_text(self.card(), encoding="utf-8")
        partial.rename(folder)

    def card(self) -> str:
        """The model card: an imported checkpoint has no figures of its own."""
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
    """For the config: each file's name and SHA-256."""
    return tuple(f"{path.name}, SHA-256 {digest}" for path, digest in files.items())
