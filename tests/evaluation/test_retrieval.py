"""Recall and mAP@10 by hand, and both caption sets in their official layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score

from evaluation.embeddings import encode
from evaluation.encoder import Encoder
from evaluation.retrieval import CAPTION_SETS, average_precision_at, ranked_truth, recall_at, retrieval
from evaluation.store import Store
from evaluation.task import LayoutError
from model.checkpoint import Checkpoint
from tests.evaluation.layouts import audiocaps, clotho

RIGHT = np.array([[True, False, False, True], [False, False, True, False], [False, True, True, False]])


def test_recall_by_hand() -> None:
    assert [recall_at(RIGHT, k) for k in (1, 2, 3)] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]


def test_average_precision_by_hand() -> None:
    queries = [(1 / 1 + 2 / 4) / 2, 1 / 3, (1 / 2 + 2 / 3) / 2]
    assert average_precision_at(RIGHT, 10) == pytest.approx(np.mean(queries))
    assert average_precision_at(RIGHT, 2) == pytest.approx(np.mean([1 / 2, 0, (1 / 2) / 2]))


@given(st.integers(0, 10_000), st.integers(2, 10))
def test_with_all_answers_in_reach_it_is_scikit_learn_s(seed: int, answers: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random((6, answers)) < 0.4
    truth[:, 0] = True
    similarity = rng.random((6, answers))
    expected = label_ranking_average_precision_score(truth, similarity)
    assert average_precision_at(ranked_truth(similarity, truth), 10) == pytest.approx(expected)


def test_a_perfect_order_is_perfect() -> None:
    truth = np.eye(4, dtype=bool)
    right = ranked_truth(truth.astype(float), truth)
    assert recall_at(right, 1) == average_precision_at(right, 10) == 1.0


@pytest.mark.parametrize(("name", "recordings", "captions"), [("clotho", 3, 15), ("audiocaps", 2, 3)])
def test_a_caption_set_is_read_as_it_is_written(
    name: str, recordings: int, captions: int, tmp_path: Path, checkpoint: Checkpoint, encoder: Encoder, store: Store
) -> None:
    {"clotho": clotho, "audiocaps": audiocaps}[name](tmp_path)
    found = CAPTION_SETS[name].open(tmp_path)
    result = retrieval(checkpoint, found, encode(encoder, found.clips, store))
    assert (result.recordings, result.captions) == (recordings, captions)
    assert result.figures["text to audio"]["R@5"] == result.figures["audio to text"]["R@10"] == 1.0
    assert result.partial == f"{recordings} of {CAPTION_SETS[name].official:,} recordings"


def test_captions_with_commas_and_all_captions_of_a_recording_are_kept(tmp_path: Path) -> None:
    clotho(tmp_path / "clotho")
    audiocaps(tmp_path / "audiocaps")
    assert "A machine whines, and squeals." in CAPTION_SETS["clotho"].open(tmp_path).clips[0].labels
    first = CAPTION_SETS["audiocaps"].open(tmp_path).clips[0]
    assert first.labels == ("Constant rattling noise and sharp vibrations", "Rattling")


@pytest.mark.parametrize("name", sorted(CAPTION_SETS))
def test_the_wrong_folder_is_answered_with_the_tree_that_was_expected(name: str, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="does not hold"):
        CAPTION_SETS[name].open(tmp_path)


@pytest.mark.parametrize(("name", "recordings", "lacking"), [("clotho", 7, 1_038), ("audiocaps", 13, 0)])
def test_the_real_samples_are_found(name: str, recordings: int, lacking: int, shared: Path) -> None:
    found = CAPTION_SETS[name].open(shared / "data/pairs")
    assert len(found.clips) == recordings
    assert len(found.missing) >= lacking
