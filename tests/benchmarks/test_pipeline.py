"""The bare pipeline gives the scores that the library gives, clip by clip, whatever else is in the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.bare import pace
from benchmarks.pipeline import Pipeline
from benchmarks.recordings import FORMATS, prepare
from model.audio import load as load_audio
from model.checkpoint import DEFAULT, load
from model.classify import LabelPrompts, clip_embedding
from model.embed import clip_windows, embed_prompts, embed_windows
from model.engine import Engine
from model.prompts import Label

EXAMPLES = Path(__file__).parents[2] / "examples"
LABELS = ("crow", "drums", "a person speaking")


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(Engine(DEFAULT, dtype="float32"), LABELS)


def test_scores_are_those_of_the_library(pipeline: Pipeline) -> None:
    checkpoint = load(DEFAULT)
    config = checkpoint.config.prompts
    prompts = LabelPrompts(tuple(map(Label, LABELS)), config.template, config.background)
    labels = prompts.assemble(dict(zip(prompts.prompts, embed_prompts(checkpoint, prompts.prompts), strict=True)))
    files = sorted(EXAMPLES.glob("*.flac"))
    scores = pipeline.scores([file.read_bytes() for file in files])
    for file, score in zip(files, scores, strict=True):
        windows, _ = clip_windows(file, checkpoint)
        audio = clip_embedding(embed_windows(checkpoint, windows))
        assert score == pytest.approx(labels.score(audio, checkpoint.logit_scale, "softmax").score, abs=1e-4)


def test_a_pace_counts_every_clip(pipeline: Pipeline) -> None:
    clips = [(EXAMPLES / "crow.flac").read_bytes()] * 2
    paced = pace(pipeline.scores, clips, 2, 1, 0.0)
    assert paced.clips_s == pytest.approx(2 / (paced.p50 / 1e3), rel=1)
    assert paced.cpu_ms > 0


def test_clips_are_5_s_in_every_format(tmp_path: Path) -> None:
    clips = prepare(EXAMPLES, tmp_path, 44_100, count=1, kinds=tuple(FORMATS))
    assert [clip.rpartition(".")[2] for clip in clips] == list(FORMATS)
    for clip in clips:
        samples = load_audio(clip, 16_000)
        assert len(samples) == pytest.approx(80_000, rel=0.02)  # mp3 pads the end
        assert np.abs(samples).max() > 0.01
