"""The engine: the same embedding in every batch, and bfloat16 only where no score changes."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from model import engine as engines
from model import parity
from model.audio import load
from model.checkpoint import DEFAULT
from model.classify import LabelPrompts
from model.cores import cores
from model.engine import Engine, fast_bfloat16
from model.prompts import Label
from model.windows import cut
from service.ipc.embedding import Vectors

CPU = torch.device("cpu")
LABELS = (
    "dog",
    "rain",
    "sea waves",
    "crying baby",
    "clock tick",
    "helicopter",
    "chainsaw",
    "rooster",
    "music",
    "speech",
)


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> Engine:
    return Engine(tiny_folder, dtype="float32")


def windows(engine: Engine, count: int = 20) -> list[Vectors]:
    noise = np.random.default_rng(0).normal(0, 0.1, (count, engine.window_samples))
    return list(noise.astype(np.float32))


def test_a_window_is_embedded_the_same_alone_and_in_a_batch(tiny: Engine) -> None:
    together = tiny.embed_audio(windows(tiny))
    alone = [tiny.embed_audio([window])[0] for window in windows(tiny)]
    assert np.abs(together - alone).max() < 1e-5
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)


def test_prompts_do_not_depend_on_the_dtype_of_the_audio_encoder(tiny: Engine, tiny_folder: Path) -> None:
    prompts = ["this is a sound of a dog", "rain"]
    lowered = Engine(tiny_folder, dtype="bfloat16")
    assert np.array_equal(tiny.embed_text(prompts), lowered.embed_text(prompts))
    assert lowered.info.dtype == "bfloat16"


def test_bfloat16_is_taken_where_no_score_shows_it(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "fast_bfloat16", lambda _: True)
    monkeypatch.setattr(parity, "ALLOWED", 1.0)
    assert Engine(tiny_folder).dtype == "bfloat16"


def test_float32_stays_where_a_score_would_show_it(
    tiny: Engine, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "fast_bfloat16", lambda _: True)
    monkeypatch.setattr(parity, "ALLOWED", 0.0)
    chosen = Engine(tiny_folder)
    assert chosen.dtype == chosen.info.dtype == "float32"
    assert np.array_equal(chosen.embed_audio(windows(tiny)), tiny.embed_audio(windows(tiny)))


def test_the_probe_is_finite_varied_and_the_same_each_time() -> None:
    first, again = parity.probe(80_000, 16_000), parity.probe(80_000, 16_000)
    assert first.shape == (16, 80_000)
    assert np.array_equal(first, again)
    assert np.isfinite(first).all()
    assert np.abs(np.corrcoef(first) - np.eye(16)).max() < 0.99


def test_the_largest_change_is_that_of_the_score_that_moved_most() -> None:
    axes = np.eye(3, dtype=np.float32)
    turned = np.array([[0.0, 1.0, 0.0]], np.float32)
    same = parity.largest_change(axes[:1], axes[:1], axes[:2], axes[2:], 20.0)
    moved = parity.largest_change(axes[:1], turned, axes[:2], axes[2:], 20.0)
    assert same == 0
    assert moved == pytest.approx(1, abs=1e-6)


def recordings(shared: Path, engine: Engine, count: int) -> list[Vectors]:
    """The first window of files spread over the evaluation sets."""
    files = sorted(path for path in (shared / "data" / "eval").rglob("*") if path.suffix in {".wav", ".ogg", ".flac"})
    front_end = engine.info.config.front_end
    found = []
    for path in random.Random(0).sample(files, count):  # noqa: S311
        samples = load(path.read_bytes(), front_end.sample_rate)
        found.append(cut(samples, front_end.window_samples, front_end.window_hop_samples, front_end.padding)[0][0])
    return found


@pytest.mark.skipif(not fast_bfloat16(CPU), reason="this processor has no fast bfloat16")
def test_what_auto_takes_keeps_the_promise_on_real_recordings(shared: Path) -> None:
    """No score of the bundled checkpoint moves by more than 5e-3 from those of float32."""
    exact, chosen = Engine(DEFAULT, dtype="float32"), Engine(DEFAULT)
    prompts = exact.info.config.prompts
    labels = LabelPrompts(tuple(map(Label, LABELS)), prompts.template, prompts.background)
    embedded = labels.assemble(dict(zip(labels.prompts, exact.embed_text(labels.prompts), strict=True)))
    clips = recordings(shared, exact, 48)
    one, other = (
        np.concatenate([e.embed_audio(clips[at : at + 8]) for at in range(0, 48, 8)]) for e in (exact, chosen)
    )
    for activation in ("softmax", "sigmoid"):
        before = embedded.score(one, exact.info.logit_scale, activation, none_of_these=True).score
        after = embedded.score(other, exact.info.logit_scale, activation, none_of_these=True).score
        assert np.abs(before - after).max() <= parity.PROMISED


def test_batches_at_once_are_embedded_as_they_are_alone(tiny: Engine) -> None:
    parts = [windows(tiny)[at : at + 5] for at in range(0, 20, 5)]
    with ThreadPoolExecutor(4) as threads:
        together = np.concatenate(list(threads.map(tiny.embed_audio, parts)))
    assert np.abs(together - tiny.embed_audio(windows(tiny))).max() < 1e-5


def test_a_cpu_has_a_stream_for_each_core(tiny: Engine) -> None:
    assert tiny.streams == cores()
