"""What is tested on is never trained on: not the clip, not its source, not the same bytes under another name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.folds import Fold, FoldError, empty, make_folds, uncontaminated
from evaluation.task import Clip, Split
from evaluation.tasks import TASKS
from tests.evaluation.layouts import LAYOUTS


def clip(name: int, label: str = "dog", split: Split = "", fold: int = 0, source: str = "") -> Clip:
    return Clip(Path(f"{name}.wav"), (label,), split, fold, source)


def shared_sources(clips: Sequence[Clip], fold: Fold) -> set[str]:
    """Sources that are both in training and in test."""
    training, test = ({clips[row].source for row in rows} for rows in (fold.training, fold.test))
    return (training & test) - {""}


def parts(fold: Fold) -> list[list[int]]:
    return [fold.train.tolist(), fold.val.tolist(), fold.test.tolist()]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_clip_is_tested_at_most_once_and_never_trained_on_then(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    task = TASKS[name]
    clips = task.open(tmp_path).clips
    folds = make_folds(clips, task.folds)
    tested = [row for fold in folds for row in fold.test.tolist()]
    assert len(tested) == len(set(tested))
    for fold in folds:
        assert not set(fold.training.tolist()) & set(fold.test.tolist())
        assert shared_sources(clips, fold) == set()


@pytest.mark.parametrize("name", ["esc50", "ravdess", "mridangam-stroke", "speech-commands", "gtzan-music-speech"])
def test_on_real_data_no_source_is_trained_on_and_tested_on(name: str, shared: Path) -> None:
    task = TASKS[name]
    clips = task.open(shared / "data/eval").clips
    folds = make_folds(clips, task.folds)
    assert len(folds) == task.folds
    assert sum(len(fold.test) for fold in folds) == len(clips)
    for fold in folds:
        assert shared_sources(clips, fold) == set()


def test_esc50_s_folds_are_its_own(shared: Path) -> None:
    clips = TASKS["esc50"].open(shared / "data/eval").clips
    for fold in make_folds(clips, 5):
        assert {clips[row].path.name[0] for row in fold.test} == {fold.name}
        assert {clips[row].path.name[0] for row in fold.training} == set("12345") - {fold.name}


def test_a_split_is_used_as_it_is() -> None:
    splits: list[Split] = ["train", "test", "val", "train"]
    [fold] = make_folds([clip(n, split=split) for n, split in enumerate(splits)], 5)
    assert parts(fold) == [[0, 3], [2], [1]]
    assert fold.training.tolist() == [0, 3, 2]


def test_own_folds_are_rotated() -> None:
    folds = make_folds([clip(n, fold=number) for n, number in enumerate([1, 2, 3, 1])], 5)
    assert [parts(fold) for fold in folds] == [[[2], [1], [0, 3]], [[0, 3], [2], [1]], [[1], [0, 3], [2]]]


def test_two_folds_leave_no_validation_part() -> None:
    folds = make_folds([clip(0, fold=1), clip(1, fold=2)], 5)
    assert [parts(fold) for fold in folds] == [[[1], [], [0]], [[0], [], [1]]]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("stuvwxyz")), min_size=12, max_size=60),
    st.integers(2, 6),
)
def test_folds_made_here_part_no_source(facts: list[tuple[str, str]], count: int) -> None:
    clips = [clip(n, label, source=source) for n, (label, source) in enumerate(facts)]
    try:
        folds = make_folds(clips, count)
    except FoldError:
        return
    for fold in folds:
        assert shared_sources(clips, fold) == set()
    assert sorted(row for fold in folds for row in fold.test.tolist()) == list(range(len(clips)))


def test_folds_made_here_are_the_same_on_every_run() -> None:
    clips = [clip(n, "ab"[n % 2], source=str(n // 3)) for n in range(60)]
    assert [parts(fold) for fold in make_folds(clips, 5)] == [parts(fold) for fold in make_folds(clips, 5)]


def test_folds_made_here_have_every_class_in_proportion() -> None:
    clips = [clip(n, "ab"[n % 5 == 0]) for n in range(100)]
    for fold in make_folds(clips, 5):
        assert sum(clips[row].label == "b" for row in fold.test) == 4


def test_an_empty_part_is_named() -> None:
    with pytest.raises(FoldError, match="fold test has no training clip"):
        make_folds([clip(0, split="test")], 5)
    with pytest.raises(FoldError, match="every clip is in fold 3"):
        make_folds([clip(0, fold=3), clip(1, fold=3)], 5)
    with pytest.raises(FoldError, match="2 clips of 1 sources can't be cut into folds"):
        make_folds([clip(0, source="a"), clip(1, source="a")], 5)


def test_an_official_fold_that_a_copy_lacks_is_known() -> None:
    assert empty([clip(0, fold=1), clip(1, fold=2), clip(2, fold=5)], 5) == [3, 4]
    assert empty([clip(0), clip(1)], 5) == []


def test_a_training_clip_with_a_test_clip_s_bytes_is_left_out() -> None:
    assert uncontaminated(np.array([0, 1, 2]), np.array([3]), [b"a", b"x", b"c", b"x"]).tolist() == [0, 2]
