"""Hugging Face `datasets` as a source: from the hub, its cache, or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.data.hub_rows import opened, url_of
from training.data.manifest import Captioned, ManifestError, clean


def read_dataset(name: str, config: str | None, split: str, audio: str, captions: Sequence[str]) -> list[Captioned]:
    """The rows of a data set that have a caption in one of the columns `captions`.

    `name` is a hub id, or a folder that `save_to_disk` wrote or that holds Parquet files. Raises ManifestError.
    """
    url = url_of(name, config, split, audio)
    try:
        rows = opened(url)
    except ModuleNotFoundError:
        raise ManifestError("data sets of Hugging Face need datasets: pip install 'anysound[datasets]'") from None
    except (OSError, ValueError, LookupError) as error:
        raise ManifestError(f"the data set {name} cannot be opened: {str(error) or repr(error)}") from None
    for column in (audio, *captions):
        if column not in rows.column_names:
            raise ManifestError(f"the data set {name} has no column {column!r}, only {', '.join(rows.column_names)}")
    clips = []
    for number, texts in enumerate(zip(*(rows[column] for column in captions), strict=True)):
        flat = [text for cell in texts for text in (cell if isinstance(cell, list) else [cell])]
        if found := clean(flat):
            clips.append(Captioned(Path(name) / split / str(number), found, number, url=url))
    if not clips:
        raise ManifestError(f"the data set {name} has no caption in {', '.join(captions)}")
    return clips
