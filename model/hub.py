"""Models by their hub id: fetched through huggingface_hub's cache, converted once per commit.

`python -m model.hub MODEL` prints the checkpoint directory of a model.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model.checkpoint import CONFIG, CheckpointError, read_config
from model.importers import kind_of, read

if TYPE_CHECKING:
    from model.importers.imported import Imported

HUB_ID = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(?P<rest>(@[\w./-]+)*)")

RELEASES = {
    "microsoft/msclap": {
        "2022": ("msclap-2022", "CLAP_weights_2022.pth"),
        "2023": ("msclap-2023", "CLAP_weights_2023.pth"),
    },
    "lukewys/laion_clap": {
        stem: ("laion", f"{stem}.pt")
        for stem in (
            *("630k-best", "630k-audioset-best", "630k-fusion-best", "630k-audioset-fusion-best"),
            *("music_audioset_epoch_15_esc_90.14", "music_speech_epoch_15_esc_89.25"),
            "music_speech_audioset_epoch_15_esc_89.98",
        )
    },
}
"""Repositories that hold several models: for each name after the first @, the importer and the file."""

TOKENIZER = ("*.json", "*.txt")
CONVERSION = 1  # incremented when an importer writes another directory from the same file


class HubError(CheckpointError):
    """A model that neither the hub nor its cache has."""


@dataclass(frozen=True)
class HubModel:
    """OWNER/NAME, OWNER/NAME@REVISION, or OWNER/NAME@RELEASE and OWNER/NAME@RELEASE@REVISION of `RELEASES`."""

    repo: str
    release: str | None = None
    revision: str | None = None

    @property
    def name(self) -> str:
        return f"{self.repo}@{self.release}" if self.release else self.repo


def parse(text: str) -> HubModel | None:
    """The hub model that `text` names; None if it is not a hub id. Raises HubError for an unknown release."""
    found = HUB_ID.fullmatch(text)
    if found is None:
        return None
    repo, parts = found["repo"], found["rest"].split("@")[1:]
    releases = RELEASES.get(repo)
    release = None
    if releases is not None:
        release = parts.pop(0) if parts else None
        if release not in releases:
            raise HubError(f"{text}: say which of its models: {', '.join(f'{repo}@{name}' for name in releases)}")
    if len(parts) > 1:
        raise HubError(f"{text} has more than one revision")
    return HubModel(repo, release, parts[0] if parts else None)


def resolve(model: str | Path) -> Path:
    """The checkpoint directory of `model`: a directory itself, or a hub id, which is fetched and converted if needed.

    Raises CheckpointError, in one line, if that fails.
    """
    asked = None if Path(model).exists() else parse(str(model))
    if asked is None:
        return Path(model)
    kind, source = released(asked)
    if kind == "transformers" and is_checkpoint(source):
        return source
    return converted(asked, kind, source)


def import_model(kind: str, source: str, name: str | None = None, tokenizer: Path | None = None) -> Imported:
    """Read a released model as `kind`: `source` is a file, a directory or a hub id.

    `tokenizer` is a directory; by default the model's own tokenizer is fetched from the hub. Raises CheckpointError.
    """
    return read(kind, source_of(kind, source), name, tokenizer or tokenizer_of(kind))


def source_of(kind: str, text: str) -> Path:
    """The file or directory to import as `kind`: a local one, or that of a hub id. Raises HubError."""
    asked = None if Path(text).exists() else parse(text)
    if asked is None:
        return Path(text)
    found, source = released(asked)
    if found != kind:
        raise HubError(f"{text} is of kind {found}, not {kind}")
    return source


def released(asked: HubModel) -> tuple[str, Path]:
    """The importer for a hub model, and its files in the hub's cache. Raises HubError."""
    if asked.release is None:
        snapshot = fetch(asked, ("*.json", "*.txt", "*.safetensors"))
        if not any(snapshot.glob("*.safetensors")):
            snapshot = fetch(asked, ("pytorch_model*.bin",))
        return "transformers", snapshot
    kind, file = RELEASES[asked.repo][asked.release]
    source = fetch(asked, (file,)) / file
    if not source.exists():
        raise HubError(f"{asked.name}: neither its repository nor the cache has {file}")
    return kind, source


def is_checkpoint(folder: Path) -> bool:
    """Whether `folder` is a checkpoint of this project."""
    try:
        read_config(folder)
    except CheckpointError:
        return False
    return True


def converted(model: HubModel, kind: str, source: Path) -> Path:
    """Import `source` unless this commit was imported before. A file lock lets one of several processes do it."""
    from filelock import FileLock

    commit = (source if source.is_dir() else source.parent).name
    folder = cache() / f"{model.name.replace('/', '--')}--{commit[:12]}--{CONVERSION}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not (folder / CONFIG).exists():
                imported: Imported = read(kind, source, model.name, tokenizer_of(kind))
                imported.from_hub(f"{model.repo} at commit {commit}")
                imported.write(folder)
    except OSError as error:
        raise HubError(f"{model.name} cannot be converted into {folder}: {error.strerror or error}") from None
    return folder


def cache() -> Path:
    """The directory of converted checkpoints. Raises HubError without XDG_CACHE_HOME and a home directory."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "anysound"
    try:
        return Path.home() / ".cache" / "anysound"
    except RuntimeError:
        raise HubError("there is no home directory to keep converted checkpoints in: set XDG_CACHE_HOME") from None


def tokenizer_of(kind: str) -> Path | None:
    """The tokenizer files that models of `kind` do not hold; None if they do. Raises CheckpointError."""
    repo = kind_of(kind).tokenizer
    return None if repo is None else fetch(HubModel(repo), TOKENIZER)


def fetch(model: HubModel, patterns: tuple[str, ...]) -> Path:
    """A snapshot with the files of `model` that match `patterns`; only from the cache if the hub cannot be reached.

    Raises HubError, in one line.
    """
    from httpx import HTTPError
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    what = f"{model.repo}{f' at revision {model.revision}' if model.revision else ''}"
    try:
        return Path(snapshot_download(model.repo, revision=model.revision, allow_patterns=list(patterns)))
    except LocalEntryNotFoundError:
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise HubError(f"{what} is not in the cache {constants.HF_HUB_CACHE}, and {offline}") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        reason = {401: "it does not exist or is not public", 403: "access is denied", 404: "it does not exist"}.get(
            status or 0
        )
        raise HubError(f"{what} cannot be fetched: {reason or f'the hub answers {status}'}") from None
    except (HTTPError, OSError, ValueError) as error:
        raise HubError(f"{what} cannot be fetched: {str(error).splitlines()[0] if str(error) else error!r}") from None


def main(arguments: list[str]) -> int:
    """Print the checkpoint directory of a model. Returns the exit status."""
    try:
        sys.stdout.write(f"{resolve(arguments[0])}\n")
    except CheckpointError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
