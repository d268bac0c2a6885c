"""The paper's four training sets in their official layouts (Elizalde et al. 2022, section 4.1)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from training.data.manifest import Captioned, ManifestError, clean

# The C parser reads MACS's 17,000 captions in a second; the Python parser takes half a minute.
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

CLOTHO_SPLITS = ("development", "validation", "evaluation")
AUDIOCAPS_SPLITS = ("train", "val", "test")


def fsd50k(root: Path, splits: Sequence[str] = ("train",)) -> list[Captioned]:
    """FSD50K's development clips; a clip's caption is its Freesound title and description.

    `splits` are those of `dev.csv`: the paper's 36,796 pairs are `train` alone, `val` adds 4,170.
    """
    rows = _table(root / "FSD50K.ground_truth" / "dev.csv", ("fname", "split"))
    info_path = root / "FSD50K.metadata" / "dev_clips_info_FSD50K.json"
    try:
        info = json.loads(info_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{info_path} cannot be read: {error}") from None
    clips = []
    for row in rows:
        if row["split"] not in splits:
            continue
        about = info.get(row["fname"])
        if about is None:
            raise ManifestError(f"{info_path} has no entry for the clip {row['fname']} of dev.csv")
        if caption := clean([f"{about.get('title', '')} {about.get('description', '')}"]):
            clips.append(Captioned(root / "FSD50K.dev_audio" / f"{row['fname']}.wav", caption))
    return clips


def clotho(root: Path, splits: Sequence[str] = CLOTHO_SPLITS) -> list[Captioned]:
    """Clotho v2: five captions per recording. Other columns, such as translations, are ignored."""
    columns = [f"caption_{number}" for number in range(1, 6)]
    return [
        Captioned(root / split / row["file_name"], clean(row[column] for column in columns))
        for split in splits
        for row in _table(root / f"clotho_captions_{split}.csv", ("file_name", *columns))
    ]


def audiocaps(root: Path, splits: Sequence[str] = ("train",)) -> list[Captioned]:
    """AudioCaps: one caption per clip in `train`, five in `val` and `test`, each on a line of its own.

    The data set consists of CSV files only. A clip's audio is `audio/<youtube_id>_<start_time>`,
    `<split>/<youtube_id>_<start_time>` or, in version 2, `<split>/<audiocap_id>`, with any audio suffix.
    """
    captions: dict[Path, list[str]] = {}
    for split in splits:
        # Where both names exist, the official one is taken.
        there = {path.stem: path for folder in (root / split, root / "audio") for path in folder.glob("*")}
        columns = ("audiocap_id", "youtube_id", "start_time", "caption")
        for row in _table(root / f"{split}.csv", columns):
            name = f"{row['youtube_id']}_{row['start_time']}"
            path = there.get(name) or there.get(row["audiocap_id"]) or root / "audio" / f"{name}.wav"
            captions.setdefault(path, []).append(row["caption"])
    return [Captioned(path, clean(texts)) for path, texts in captions.items()]


def macs(root: Path, splits: Sequence[str] = ()) -> list[Captioned]:
    """MACS: `MACS.yaml` and the audio of TAU Urban Acoustic Scenes 2019 (development); two to five captions each."""
    if splits:
        raise ManifestError("MACS has no splits")
    path = root / "MACS.yaml"
    try:
        with path.open(encoding="utf-8") as file:
            files = yaml.load(file, SafeLoader)["files"]  # noqa: S506 - it is the safe one
        rows = [(str(row["filename"]), [note["sentence"] for note in row["annotations"]]) for row in files]
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} is not MACS's annotation file: {error!r}") from None
    folders = [root / "audio", root / "TAU-urban-acoustic-scenes-2019-development" / "audio", root]
    folder = next((place for place in folders if rows and (place / rows[0][0]).exists()), folders[0])
    return [Captioned(folder / name, captions) for name, texts in rows if (captions := clean(texts))]


READERS = {"fsd50k": fsd50k, "clotho": clotho, "audiocaps": audiocaps, "macs": macs}


def _table(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of an official CSV file. Bytes that are not UTF-8, which some copies have, are replaced."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            table = csv.DictReader(file)
            for column in columns:
                if column not in (table.fieldnames or ()):
                    raise ManifestError(f"{path} has no column `{column}`")
            for row in table:
                if any(row[column] is None for column in columns):
                    raise ManifestError(f"{path}:{table.line_num}: the line is cut short")
                yield row
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
