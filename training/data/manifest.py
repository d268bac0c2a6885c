"""Captioned recordings, and manifests that list them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.tables import TableError, csv_rows, json_rows
from training.data.hub_rows import DATASET, read_row
from training.data.remote import is_pipe, kept, read_range

SUFFIXES = (".jsonl", ".csv", ".tsv")
MAX_PATH = 4_096
"""Characters of a path, Linux' limit."""


class ManifestError(ValueError):
    """The training data cannot be used as described; the message names the file, the line and the cause."""


@dataclass(frozen=True)
class Captioned:
    """A recording and at least one caption.

    The recording is the file `audio`, or, in a shard, `size` bytes of it from `offset` on. A shard at a `url` is read
    there, and only named by `audio`; what a `pipe:` command prints is kept in `audio`. A row `offset` of a Hugging Face
    data set has that as its `url`. The user's own recordings may
    have a `label`. Those of one `group` are held out together. `held_out`: whether it is, where its data set says.
    `weight`: how often each of its pairs is drawn in an epoch.
    """

    audio: Path
    captions: tuple[str, ...]
    offset: int = 0
    size: int | None = None
    url: str = ""
    label: str = ""
    group: str = ""
    held_out: bool | None = None
    weight: float = 1.0

    @property
    def source(self) -> Path | bytes:
        """The source to decode: the path, or the bytes of a shard's member. Raises OSError."""
        if self.url.startswith(DATASET):
            return read_row(self.url, self.offset)
        if self.size is None:
            return self.audio
        if self.url and not is_pipe(self.url):
            return read_range(self.url, self.offset, self.size)
        with (kept(self.url, self.audio) if self.url else self.audio).open("rb") as shard:
            shard.seek(self.offset)
            return shard.read(self.size)

    @property
    def name(self) -> str:
        return str(self.audio) if self.size is None else f"{self.url or self.audio} at byte {self.offset}"


def read_manifest(path: Path, skip_uncaptioned: bool = False, labelled: bool = False) -> list[Captioned]:
    """The recordings of a manifest: JSON lines (`.jsonl`) or a table with a header (`.csv`, `.tsv`).

    `audio` is relative to the manifest's folder. A row has its captions in `caption`, `captions` or `caption_1`,
    `caption_2` and so on; `caption` and `captions` hold a text or a list of texts. Other members are ignored.
    `skip_uncaptioned` leaves rows without a caption out; otherwise they are an error. If `labelled`, a row may have a
    `label` (or the first of `labels`) in place of a caption, and in `source` the recording it was cut from.
    Raises ManifestError for a row that lacks one of them, a recording on two rows, or a manifest without rows.
    """
    if path.suffix not in SUFFIXES:
        raise ManifestError(f"{path}: a manifest is JSON lines (.jsonl) or CSV with a header (.csv, .tsv)")
    rows: dict[Path, int] = {}
    clips = []
    try:
        for number, row in json_rows(path) if path.suffix == ".jsonl" else _csv_rows(path, labelled):
            clip = _clip(path.parent, row, f"{path}:{number}")
            if labelled:
                clip = replace(clip, label=_label(row), group=str(row.get("source") or "").strip())
            if not clip.captions and not clip.label:
                if skip_uncaptioned:
                    continue
                raise ManifestError(f"{path}:{number}: no `caption`" + " and no `label`" * labelled)
            if clip.audio in rows:
                raise ManifestError(
                    f"{path}:{number}: {row['audio']} is on line {rows[clip.audio]} already; "
                    "give all captions of a recording on one line"
                )
            rows[clip.audio] = number
            clips.append(clip)
    except TableError as error:
        raise ManifestError(str(error)) from None
    if not clips:
        raise ManifestError(f"{path} names no recording" + " with a caption" * skip_uncaptioned)
    return clips


def _label(row: dict[str, Any]) -> str:
    labels = row.get("labels")
    label = row.get("label") or (labels[0] if isinstance(labels, list) and labels else labels)
    return " ".join(label.split()) if isinstance(label, str) else ""


def _csv_rows(path: Path, labelled: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in csv_rows(path, ("audio",)):
        if not any(map(_is_caption, row)) and not (labelled and "label" in row):
            raise ManifestError(f"{path}: no column `caption` among {', '.join(row)}")
        yield (
            number,
            {name: _cell(cell, f"{path}:{number}") if name == "captions" else cell for name, cell in row.items()},
        )


def _cell(cell: str, place: str) -> object:
    """The list that a cell of `captions` is written as, in JSON's way or Python's; any other cell is one caption."""
    if not cell.startswith(("['", '["')):
        return cell
    try:
        return ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ManifestError(f'{place}: `captions` is not a list like ["a dog", "a bark"]') from None


def _clip(folder: Path, row: dict[str, Any], place: str) -> Captioned:
    audio = row.get("audio")
    if not isinstance(audio, str) or not audio.strip():
        raise ManifestError(f"{place}: no `audio`")
    if len(audio) > MAX_PATH:
        raise ManifestError(f"{place}: `audio` has {len(audio):,} characters; is a quote missing before this row?")
    captions = clean(text for name, value in row.items() if _is_caption(name) for text in _texts(value, name, place))
    return Captioned(folder / audio.strip(), captions)


def _is_caption(name: str) -> bool:
    return name in ("caption", "captions") or name.startswith("caption_")


def _texts(value: object, name: str, place: str) -> list[str]:
    """A member's captions: a text, a list of texts, or none where it is null."""
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ManifestError(f"{place}: `{name}` is neither a text nor a list of texts")
    for text in texts:
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise ManifestError(f"{place}: `{name}` has half of a surrogate pair, which is no character")
    return texts


def clean(captions: Iterable[object]) -> tuple[str, ...]:
    """The captions that are not empty, each once, with single spaces in place of any white space."""
    texts = (" ".join(text.split()) for text in captions if isinstance(text, str))
    return tuple(dict.fromkeys(text for text in texts if text))


def check_present(clips: Sequence[Captioned], place: str, max_missing: float) -> list[Captioned]:
    """The clips whose file exists. Raises ManifestError where more than the share `max_missing` does not."""
    present = [clip for clip in clips if clip.audio.exists()]
    missing = len(clips) - len(present)
    if missing > max_missing * len(clips):
        first = next(clip.audio for clip in clips if not clip.audio.exists())
        raise ManifestError(
            f"{place}: {missing} of {len(clips)} recordings are missing, the first is {first}; "
            f"the recipe allows a share of {max_missing:g} (max_missing)"
        )
    if not present:
        raise ManifestError(f"{place}: none of {len(clips)} recordings exists")
    return present


def check_distinct(clips: Iterable[Captioned]) -> None:
    """Raises ManifestError where two data sets hold the same recording."""
    seen = set()
    for clip in clips:
        key = (clip.url or clip.audio.absolute(), clip.offset)
        if key in seen:
            raise ManifestError(f"{clip.name} comes from two data sets of the recipe")
        seen.add(key)
