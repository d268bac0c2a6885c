"""A checkpoint's constants for labels with examples, measured on recordings with captions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.progress import Progress

from evaluation.embeddings import encode
from evaluation.encoder import Encoder
from evaluation.store import Store
from evaluation.task import Clip
from model.checkpoint import Checkpoint
from model.config import ExampleScale
from model.embed import embed_prompts
from model.examples import measured
from model.prompts import fill

MAX_RECORDINGS = 20_000
"""The mean cosines do not change with more; of more recordings this many are drawn, with a fixed seed."""
OPENING = "the sound of "
"""What captions begin with that were made from a name; the template says it already."""


def example_scale(
    checkpoint: Checkpoint, captions: Mapping[Path, str], progress: Progress | None = None
) -> ExampleScale:
    """The constants, from recordings by path with their captions, which are put into the checkpoint's template.

    Raises TooFewRead if more than half of the recordings cannot be read, ValueError if no two captions have several.
    """
    paths = list(captions)
    if len(paths) > MAX_RECORDINGS:
        rows = np.random.default_rng(0).choice(len(paths), MAX_RECORDINGS, replace=False)
        paths = [paths[row] for row in np.sort(rows)]
    encoder = Encoder(checkpoint, str(checkpoint.model.logit_scale.device))
    with Store(None, checkpoint.fingerprint, encoder.precision) as store:
        encoded = encode(encoder, [Clip(path, (captions[path],)) for path in paths], store, progress)
    names = list(dict.fromkeys(clip.label for clip in encoded.clips))
    place = {name: number for number, name in enumerate(names)}
    template = checkpoint.config.prompts.template
    texts = embed_prompts(checkpoint, [fill(template, name.removeprefix(OPENING)) for name in names])
    return measured(encoded.joint, [place[clip.label] for clip in encoded.clips], texts)
