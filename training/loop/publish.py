"""Checkpoint directories of a run: one per epoch, and the links `best` and `last` to two of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from model.checkpoint import CONFIG, save
from model.clap import Clap
from model.text import Tokenizer
from training.loop.state import StateError
from training.loop.validate import ValidationResult


@dataclass(frozen=True)
class Checkpoints:
    """`run/checkpoints/epoch-000` and so on; the last `keep` and the best one stay."""

    run: Path
    keep: int

    def publish(
        self,
        clap: Clap,
        tokenizer: Tokenizer,
        name: str,
        result: ValidationResult,
        summary: dict[str, Any],
        best: bool,
    ) -> Path:
        """Write the checkpoint `name` and link `last` to it, and `best` too if it is. Raises StateError."""
        folder = self.run / "checkpoints" / name
        partial = folder.with_name(f"{folder.name}.partial")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            # The start's calibration for examples does not fit other weights.
            clap.config = clap.config.model_copy(update={"training": summary, "example_scale": None})
            save(clap, partial, tokenizer)
            (partial / "README.md").write_text(card(clap, result, summary), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
            for alias in ("last", "best") if best else ("last",):
                link = self.run / f"{alias}.partial"
                link.unlink(missing_ok=True)
                link.symlink_to(folder.relative_to(self.run))
                link.replace(self.run / alias)
        # safetensors raises its own exception where the disk is full.
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise StateError(f"{folder} could not be saved: {error}; checkpoints saved before are kept") from error
        self._delete_old()
        return folder

    def _delete_old(self) -> None:
        kept = {(self.run / name).resolve() for name in ("last", "best")}
        there = [path for path in sorted((self.run / "checkpoints").iterdir()) if (path / CONFIG).exists()]
        epochs = [path for path in there if path.name.startswith("epoch-")]
        for folder in (*epochs[: -self.keep], *(path for path in there if path.name.startswith("step-"))):
            if folder.resolve() not in kept:
                shutil.rmtree(folder)


def card(clap: Clap, result: ValidationResult, summary: dict[str, Any]) -> str:
    """A model card with the epoch's figures."""
    config = clap.config
    rows = [("held-out loss", result.loss)] if result.loss is not None else []
    rows += [(name.replace("_", " "), value) for name, value in result.recalls.items()]
    rows += [(f"zero-shot {name}", value) for name, value in result.zero_shot.items()]
    figures = "\n".join(f"| {name} | {value:.3f} |" for name, value in rows)
    sources = "\n".join(f"- {source}" for source in config.sources) or "- not stated"
    about = "\n".join(f"- {name}: {value}" for name, value in summary.items() if not isinstance(value, dict))
    return (
        f"# {config.name}\n\n"
        f"A CLAP with a {config.audio_encoder.kind} audio encoder; licence: {config.licence or 'not stated'}.\n\n"
        f"## Figures\n\n| what | measured |\n|---|---|\n{figures}\n\n"
        f"## Training\n\n{about}\n\n## Sources\n\n{sources}\n"
    )
