"""The default recipe, step by step, on recordings made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pydantic import ValidationError

from training.bundled.align import caption_weights, soft_cross_entropy
from training.bundled.augment import mixture, place
from training.bundled.default import read_recipe
from training.bundled.pool import Pool, PoolSpec
from training.bundled.recordings import WaveformStore, read_manifest
from training.bundled.student import mask_spectrogram, shift
from training.tagging.phrases import PHRASES, read_phrases


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for number, label in enumerate(["dog", "dog", "dog", "dog", "rain"]):
        soundfile.write(tmp_path / f"{number}.wav", rng.standard_normal(4_000) * 0.1, 16_000)
        rows.append({"audio": f"{number}.wav", "caption": label, "labels": [label], "source": "here", "licence": "CC0"})
    (tmp_path / "broken.wav").write_bytes(b"RIFF....")
    rows.append({"audio": "broken.wav", "source": "here", "licence": "CC0"})
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_store_holds_every_recording_that_can_be_read(manifest: Path, tmp_path: Path) -> None:
    WaveformStore.build(list(read_manifest(manifest)), tmp_path / "store", 32_000)
    store = WaveformStore(tmp_path / "store")
    assert len(store) == 5
    assert [len(store.samples(index)) for index in range(5)] == [8_000] * 5


def test_a_frequent_label_weighs_by_the_root_of_its_count(manifest: Path, tmp_path: Path) -> None:
    WaveformStore.build(list(read_manifest(manifest)), tmp_path / "store", 32_000)
    weights = WaveformStore(tmp_path / "store").weights()
    assert weights.sum() == pytest.approx(1.0)
    assert weights[:4].sum() == pytest.approx(2 * weights[4])


def test_a_manifest_line_without_a_source_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"audio": "a.wav", "licence": "CC0"}\n')
    with pytest.raises(ValueError, match=r"manifest\.jsonl:1: no 'source'"):
        list(read_manifest(tmp_path / "manifest.jsonl"))


def test_a_mixture_is_the_same_for_the_same_seed_and_never_over_full_scale() -> None:
    sources = [torch.randn(n) for n in (100, 4_000, 90_000)]
    first, second = (mixture(sources, 8_000, 40_000, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (40_000,)
    assert float(first.abs().max()) <= 1.0


@pytest.mark.parametrize("length", [1, 999, 1_000, 5_000])
def test_a_recording_of_any_length_fills_a_window(length: int) -> None:
    for seed in range(5):
        assert place(torch.ones(length), 1_000, np.random.default_rng(seed)).shape == (1_000,)


def test_captions_lift_rare_classes_and_hold_generic_ones_down() -> None:
    logits = torch.tensor([[2.0, 1.0, 1.0], [2.0, -6.0, -6.0], [2.0, -6.0, -6.0]])
    plain = caption_weights(logits, torch.zeros(3, dtype=torch.bool), 0.0, 0.3)
    lifted = caption_weights(logits, torch.tensor([False, False, True]), 0.5, 0.3)
    torch.testing.assert_close(plain.sum(dim=1), torch.ones(3))
    assert lifted[0, 1] > plain[0, 1]
    assert lifted[0, 2] == pytest.approx(0.3 * lifted[0, 1])


def test_with_one_caption_a_clip_the_soft_loss_is_clip_s_cross_entropy() -> None:
    logits = torch.randn(4, 4)
    targets = torch.arange(4)
    expected = torch.nn.functional.cross_entropy(logits, targets) + 0.5 * torch.nn.functional.cross_entropy(
        logits.T, targets
    )
    torch.testing.assert_close(soft_cross_entropy(logits, torch.eye(4)), expected)


def test_masks_hide_at_most_an_eighth_of_each_axis() -> None:
    mel = torch.ones(16, 80, 64)
    masked = mask_spectrogram(mel, torch.Generator().manual_seed(0))
    hidden = 1 - masked.mean(dim=(1, 2))
    assert float(hidden.max()) <= 1 - (7 / 8) ** 2 + 1e-6
    assert float(hidden.mean()) > 0


def test_a_shift_loses_nothing() -> None:
    windows = torch.arange(12.0).reshape(2, 6)
    shifted = shift(windows, torch.Generator().manual_seed(1))
    torch.testing.assert_close(shifted.sort(dim=1).values, windows)


def test_every_phrase_belongs_to_a_class_the_tagger_knows(shared: Path) -> None:
    import csv

    with (shared / "data/weights/audioset_class_labels.csv").open(newline="") as file:
        classes = [row["display_name"] for row in csv.DictReader(file)]
    phrases = read_phrases(classes)
    assert [row.name for row in phrases] == classes
    assert all(row.phrases for row in phrases)


def test_a_phrase_for_an_unknown_class_is_named() -> None:
    with pytest.raises(ValueError, match="unknown classes"):
        read_phrases(["Dog"], PHRASES)


def test_an_unknown_member_of_a_recipe_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("pools: []\nepochs: 3\n")
    with pytest.raises(ValidationError, match="epochs"):
        read_recipe(recipe)


def test_a_pool_without_a_finished_chunk_says_so(tmp_path: Path) -> None:
    spec = PoolSpec(tmp_path, tmp_path, tmp_path, tmp_path)
    spec.chunk(0).with_suffix(".partial").mkdir()
    with pytest.raises(ValueError, match="no finished chunk"):
        Pool([tmp_path])
