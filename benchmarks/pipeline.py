"""The bare pipeline: bytes to scores in one process, by the modules that the service uses, without HTTP.

It is the limit for everything that surrounds the model: nothing here waits for another process or sends anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.audio import load
from model.classify import Array, LabelPrompts, clip_embedding
from model.engine import Engine
from model.prompts import Label
from model.windows import Samples, cut


class Pipeline:
    """Scores recordings against labels with the model of an engine."""

    def __init__(self, engine: Engine, labels: Sequence[str]) -> None:
        config = engine.info.config
        prompts = LabelPrompts(tuple(map(Label, labels)), config.prompts.template, config.prompts.background)
        vectors = engine.embed_text(prompts.prompts)
        self._labels = prompts.assemble(dict(zip(prompts.prompts, vectors, strict=True)))
        self._engine = engine
        self._front_end = config.front_end

    def scores(self, files: Sequence[bytes]) -> list[Array]:
        """The scores [labels] of each recording. The windows of all of them are one batch. Raises AudioError."""
        front_end = self._front_end
        windows: list[Samples] = []
        ends = []
        for file in files:
            samples = load(file, front_end.sample_rate)
            cuts, _ = cut(samples, front_end.window_samples, front_end.window_hop_samples, front_end.padding)
            windows += list(cuts)
            ends.append(len(windows))
        vectors = self._engine.embed_audio(windows)
        scale = self._engine.info.logit_scale
        return [
            self._labels.score(clip_embedding(clip), scale, "softmax").score for clip in np.split(vectors, ends[:-1])
        ]
