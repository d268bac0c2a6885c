"""Captioned recordings: what a manifest, a data set or a shard says there is to train on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ManifestError(ValueError):
    """The training data cannot be used as described; the message names the file, the line and the cause."""


@dataclass(frozen=True)
class Captioned:
    """A recording and what people wrote about it, at least one caption.

    The recording is the file `audio`, or `size` bytes of it from `offset` on, where it lies in a shard.
    """

    audio: Path
    captions: tuple[str, ...]
    offset: int = 0
    size: int | None = None

    @property
    def source(self) -> Path | bytes:
        """What can be decoded: the path, or a shard member's bytes. Raises OSError."""
        if self.size is None:
            return self.audio
        with self.audio.open("rb") as shard:
            shard.seek(self.offset)
            return shard.read(self.size)

    @property
    def name(self) -> str:
        return str(self.audio) if self.size is None else f"{self.audio} at byte {self.offset}"


def read_manifest(path: Path) -> list[Captioned]:
    """The recordings of a manifest: JSON lines (`.jsonl`) or CSV with a header (`.csv`).

    `audio` is relative to the manifest's folder. A line holds `caption`, or several captions: the list `captions` in
    JSON, the columns `caption_1`, `caption_2`, … in CSV. Other members are left alone.
    Raises ManifestError for a line that lacks one of them, for a recording on two lines, for a manifest with none.
    """
    if path.suffix not in (".jsonl", ".csv"):
        raise ManifestError(f"{path}: a manifest is JSON lines (.jsonl) or CSV with a header (.csv)")
    rows = _json_rows(path) if path.suffix == ".jsonl" else _csv_rows(path)
    lines: dict[Path, int] = {}
    clips = []
    try:
        for number, row in rows:
            place = f"{path}:{number}"
            if not isinstance(row.get("audio"), str) or not row["audio"]:
                raise ManifestError(f"{place}: no `audio`")
            audio = path.parent / row["audio"]
            if audio in lines:
                raise ManifestError(
                    f"{place}: {row['audio']} is on line {lines[audio]} already; "
                    "give all captions of a recording on one line"
                )
            lines[audio] = number
            captions = clean(_captions(row))
            if not captions:
                raise ManifestError(f"{place}: no `caption`")
            clips.append(Captioned(audio, captions))
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path} is not UTF-8 text") from None
    if not clips:
        raise ManifestError(f"{path} names no recording")
    return clips


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ManifestError(f"{path}:{number}: not JSON ({error.msg})") from None
            if not isinstance(row, dict):
                raise ManifestError(f"{path}:{number}: not a JSON object")
            yield number, row


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        columns = table.fieldnames or []
        captions = any(column == "caption" or column.startswith("caption_") for column in columns)
        if columns and not ("audio" in columns and captions):
            missing = "audio" if "audio" not in columns else "caption"
            raise ManifestError(f"{path}: no column `{missing}` among {', '.join(columns)}")
        for row in table:
            yield table.line_num, row


def _captions(row: dict[str, Any]) -> Iterable[object]:
    if isinstance(row.get("captions"), list):
        return list(row["captions"])
    return [text for column, text in row.items() if column == "caption" or column.startswith("caption_")]


def clean(captions: Iterable[object]) -> tuple[str, ...]:
    """The captions that say something, each once, on one line."""
    texts = (" ".join(text.split()) for text in captions if isinstance(text, str))
    return tuple(dict.fromkeys(text for text in texts if text))


def check_present(clips: Sequence[Captioned], place: str, max_missing: float) -> list[Captioned]:
    """The clips whose file exists. Raises ManifestError where more than the share `max_missing` does not."""
    present = [clip for clip in clips if clip.audio.exists()]
    missing = len(clips) - len(present)
    if missing > max_missing * len(clips):
        first = next(clip.audio for clip in clips if not clip.audio.exists())
        raise ManifestError(
            f"{place}: {missing} of {len(clips)} recordings are not there, the first is {first}; "
            f"the recipe allows a share of {max_missing:g} (max_missing)"
        )
    if not present:
        raise ManifestError(f"{place}: not one of {len(clips)} recordings is there")
    return present


def check_distinct(clips: Iterable[Captioned]) -> None:
    """Raises ManifestError where two data sets bring the same recording."""
    seen = set()
    for clip in clips:
        key = (clip.audio.absolute(), clip.offset)
        if key in seen:
            raise ManifestError(f"{clip.name} comes from two data sets of the recipe")
        seen.add(key)
