"""Labels embedded by their words and by recordings of their sounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from model.audio import AudioError, Source, load
from model.classify import LabelEmbeddings, LabelPrompts, clip_embedding
from model.config import ClapConfig
from model.examples import Prototype
from model.prompts import Embeddings
from model.windows import Samples, cut


class ExampleError(ValueError):
    """A recording of a label's sound cannot be read; the message names the label, the recording and the cause."""


def embed_labels(
    prompts: LabelPrompts,
    examples: Mapping[str, Sequence[Source]],
    config: ClapConfig,
    embed_windows: Callable[[Samples], Embeddings],
    embed_prompts: Callable[[Sequence[str]], Embeddings],
) -> LabelEmbeddings:
    """The arrays that recordings are scored with. `examples` are recordings of the sounds of some labels, by name.

    `embed_windows` embeds windows [k, samples], `embed_prompts` texts, both as [k, d]. Raises ExampleError,
    ScaleMissing.
    """
    front_end = config.front_end
    prototypes = {}
    for name, recordings in examples.items():
        clips = []
        for number, recording in enumerate(recordings):
            try:
                samples = load(recording, front_end.sample_rate)
            except (AudioError, OSError) as error:
                place = recording if isinstance(recording, str | Path) else f"number {number}"
                raise ExampleError(f"an example of the label {name!r} cannot be read: {place}: {error}") from None
            windows, _ = cut(samples, front_end.window_samples, front_end.window_hop_samples, front_end.padding)
            clips.append(clip_embedding(embed_windows(windows)))
        prototypes[name] = Prototype.of(np.stack(clips))
    texts = prompts.prompts
    return prompts.assemble(dict(zip(texts, embed_prompts(texts), strict=True)), prototypes, config.example_scale)
