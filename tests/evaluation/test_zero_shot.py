"""Zero-shot figures equal scikit-learn's, and a broken clip costs itself alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from evaluation.tasks import TASKS, Clip
from evaluation.zero_shot import class_embeddings, embed_clips, evaluate
from model.checkpoint import Checkpoint, load

TASK = TASKS["gtzan-music-speech"]


@pytest.fixture(scope="module")
def checkpoint(tiny_folder: Path) -> Checkpoint:
    return load(tiny_folder)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Noise of many colours and lengths, one file of them broken."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("clips")
    found = []
    for number in range(40):
        path = folder / f"{number}.wav"
        length = int(rng.integers(2_000, 30_000))
        noise = rng.standard_normal(length).cumsum() if number % 3 else rng.standard_normal(length)
        soundfile.write(path, noise / np.abs(noise).max(), 8_000)
        found.append(Clip(path, ("music", "speech")[number % 2]))
    (folder / "broken.wav").write_bytes(b"RIFF")
    return [*found[:5], Clip(folder / "broken.wav", "music"), *found[5:]]


def test_figures_equal_scikit_learn_s(checkpoint: Checkpoint, clips: list[Clip]) -> None:
    result = evaluate(checkpoint, TASK, clips)
    audio, read, _ = embed_clips(checkpoint, [clip.path for clip in clips])
    classes = ["music", "speech"]
    guessed = [classes[i] for i in (audio @ class_embeddings(checkpoint, classes, TASK.template).T).argmax(axis=1)]
    true = [clips[index].label for index in read]
    np.testing.assert_array_equal(result.confusion, confusion_matrix(true, guessed, labels=classes))
    assert result.accuracy == pytest.approx(accuracy_score(true, guessed))
    expected = recall_score(true, guessed, labels=classes, average=None, zero_division=0)
    assert list(result.recalls.values()) == pytest.approx(list(expected))


def test_a_clip_that_cannot_be_read_is_named_and_left_out(checkpoint: Checkpoint, clips: list[Clip]) -> None:
    result = evaluate(checkpoint, TASK, clips)
    assert result.clips == 40
    assert len(result.unreadable) == 1
    assert result.unreadable[0].startswith("broken.wav: ")


def test_a_clip_s_embedding_does_not_depend_on_its_neighbours(checkpoint: Checkpoint, clips: list[Clip]) -> None:
    paths = [clip.path for clip in clips if clip.path.stem != "broken"]
    together, _, _ = embed_clips(checkpoint, paths)
    alone, _, _ = embed_clips(checkpoint, paths[7:8])
    np.testing.assert_allclose(together[7], alone[0], atol=1e-5)
