"""The user's own recordings: a folder for each label, a table of labels, or a manifest with captions or labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.layouts import spoken
from evaluation.task import LayoutError
from evaluation.tasks import labelled
from model.prompts import fill
from training.data.manifest import SUFFIXES, Captioned, ManifestError, clean, read_manifest

NAMES = tuple(f"manifest{suffix}" for suffix in SUFFIXES)


def read_labelled(path: Path, templates: Sequence[str]) -> list[Captioned]:
    """The recordings of a folder or a manifest; one with a label and no caption has one caption for each template.

    A folder may hold a manifest (`manifest.jsonl`, `.csv`, `.tsv`); otherwise it is laid out as for
    `anysound evaluate --task labelled`. Recordings in its `val` and `test` are held out. Raises ManifestError.
    """
    manifest = next((path / name for name in NAMES if (path / name).is_file()), path)
    if manifest.is_file():
        clips = read_manifest(manifest, labelled=True)
    else:
        try:
            found = labelled.read(path)
        except LayoutError as error:
            raise ManifestError(str(error)) from None
        clips = [
            Captioned(
                clip.path,
                (),
                label=clip.label,
                group=clip.source,
                held_out=None if clip.split == "" else clip.split != "train",
            )
            for clip in found
        ]
        if not clips:
            raise ManifestError(f"{path} holds neither {', '.join(NAMES)} nor\n{labelled.LAYOUT}")
    return [clip if clip.captions else named(clip, templates) for clip in clips]


def named(clip: Captioned, templates: Sequence[str]) -> Captioned:
    """The recording with captions made of its label."""
    return replace(clip, captions=clean(fill(template, spoken(clip.label)) for template in templates))
