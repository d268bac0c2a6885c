"""Captions from a tagger: unlabelled recordings become pairs.

The caption of a recording names what EfficientAT's AudioSet tagger hears in it, most certain first, in the words of
`captions/audioset_phrases.yaml`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.audio import AudioError, Limits, load
from model.windows import cut
from training.tagging.phrases import ClassPhrases, read_phrases
from training.tagging.tagger import FRONT_END, Tagger

log = logging.getLogger(__name__)

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".opus", ".aiff", ".aif", ".webm")
MAX_SECONDS = 60.0


@dataclass(frozen=True)
class Captioning:
    """A class is named from `threshold` on, at most `most` of them; `captions` different wordings a recording."""

    threshold: float = 0.15
    most: int = 3
    captions: int = 2
    seed: int = 0


def recordings(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def heard(tagger: Tagger, path: Path) -> Tensor:
    """Class probabilities [classes], the highest of any window of the first minute. Raises AudioError, OSError."""
    samples = load(path, FRONT_END.sample_rate, Limits(max_seconds=3600.0, max_decoded_bytes=4 << 30))
    samples = samples[: round(MAX_SECONDS * FRONT_END.sample_rate)]
    windows, _ = cut(samples, FRONT_END.window_samples, FRONT_END.window_hop_samples, FRONT_END.padding)
    logits, _ = tagger.tag(torch.from_numpy(np.ascontiguousarray(windows)))
    return logits.sigmoid().amax(dim=0)


def classes_of(probabilities: Tensor, classes: Sequence[ClassPhrases], settings: Captioning) -> list[int]:
    """What the caption names: classes over the threshold, generic ones only where there is nothing better.

    Empty where the tagger is sure of nothing.
    """
    order: list[int] = probabilities.argsort(descending=True).tolist()
    likely = [index for index in order if probabilities[index] >= settings.threshold]
    telling = [index for index in likely if not classes[index].generic]
    return (telling or likely)[: settings.most]


def word(chosen: Sequence[int], classes: Sequence[ClassPhrases], rng: np.random.Generator) -> str:
    """One caption: a phrase a class, joined as people join them."""
    phrases = [str(rng.choice(classes[index].phrases)) for index in chosen]
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def caption(folder: Path, weights: Path, class_labels: Path, settings: Captioning) -> Iterator[dict[str, Any] | None]:
    """A manifest's row for every recording under `folder`; None for one that cannot be read or has nothing to name.

    Paths are relative to `folder`, and wordings differ from recording to recording but not from run to run.
    """
    tagger = Tagger(weights, class_labels)
    classes = read_phrases(tagger.classes)
    for number, path in enumerate(recordings(folder)):
        try:
            probabilities = heard(tagger, path)
        except (AudioError, OSError) as error:
            log.warning("left out %s: %s", path, error)
            yield None
            continue
        chosen = classes_of(probabilities, classes, settings)
        if not chosen:
            yield None
            continue
        rng = np.random.default_rng((settings.seed, number))
        captions = list(dict.fromkeys(word(chosen, classes, rng) for _ in range(settings.captions)))
        yield {
            "audio": str(path.relative_to(folder)),
            "captions": captions,
            "labels": [classes[index].name for index in chosen],
        }


def write_manifest(rows: Iterator[dict[str, Any] | None], path: Path) -> tuple[int, int]:
    """Write the rows there are to `path`, whole or not at all; how many were written and how many left out."""
    partial = path.with_name(f"{path.name}.partial")
    written = left_out = 0
    with partial.open("w", encoding="utf-8") as file:
        for row in rows:
            if row is None:
                left_out += 1
                continue
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            written += 1
    partial.replace(path)
    return written, left_out
