"""The folder of a run: a part is whole or absent, and rows of different settings never share a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk.folder import EVENTS, SCORES, FolderError, RunFolder, parts
from bulk.item import Failure
from bulk.rows import LONG, Tables
from bulk.scoring import ScoredItem
from bulk.settings import ScoreSettings
from model.events import Event

SETTINGS = ScoreSettings(
    "tiny", "f00d", ("dog", "rain"), "1abe1", "{}", "softmax", None, False, "long", True, 0.5, 0.5, 3600.0
)
EVENT = Event(1, 0.5, 2.0, 0.9)


def scored(path: str, *events: Event) -> ScoredItem:
    values = np.array([0.75, 0.25]), np.array([0.3, 0.1])
    return ScoredItem(path, "hash", 2.5, np.array([1, 0]), *values, None, events, None)


def failed(path: str, detail: str = "The clip is empty.") -> ScoredItem:
    none = np.empty(0)
    return ScoredItem(path, None, None, np.empty(0, np.int64), none, none, None, (), Failure("empty", detail))


def test_the_long_table_has_a_row_per_label_and_one_per_failure() -> None:
    table = Tables(SETTINGS).scores_of([scored("a"), failed("b")])
    assert table.schema.names == [field.name for field in LONG]
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("a", "hash", 2.5, "rain", 0.75, 0.3, 1, None, None, None),
        ("a", "hash", 2.5, "dog", 0.25, 0.1, 2, None, None, None),
        ("b", None, None, None, None, None, None, None, "The clip is empty.", "empty"),
    ]


def test_the_wide_table_has_a_column_per_label() -> None:
    items = [scored("a"), failed("b"), replace(scored("c"), none_of_these=0.5)]
    table = Tables(replace(SETTINGS, layout="wide")).scores_of(items)
    assert table.column_names == [
        *("path", "content_hash", "duration_s", "dog", "rain", "none_of_these", "error", "reason")
    ]
    assert table.column("dog").to_pylist() == [0.25, None, 0.25]
    assert table.column("none_of_these").to_pylist() == [None, None, 0.5]


@pytest.mark.parametrize("layout", ["long", "wide"])
@pytest.mark.parametrize("items", [[], [failed("a")], [scored("a")]])
def test_a_schema_does_not_depend_on_the_rows(layout: str, items: list[ScoredItem]) -> None:
    tables = Tables(replace(SETTINGS, layout=layout))  # type: ignore[arg-type]
    assert tables.scores_of(items).schema.equals(tables.scores, check_metadata=True)
    assert tables.events_of(items).schema.equals(tables.events, check_metadata=True)
    assert pa.null() not in tables.scores.types


def test_parts_follow_each_other_and_know_what_is_done(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out", SETTINGS) as folder:
        folder.write([scored("a", EVENT), failed("b")])
        folder.write([scored("c")])
        assert folder.done() == {"a", "b", "c"}
    with RunFolder(tmp_path / "out", SETTINGS) as folder:
        folder.write([scored("d")])
        assert folder.done() == {"a", "b", "c", "d"}
    assert [path.name for _, path in parts(tmp_path / "out")] == [f"part-{n:06d}.parquet" for n in range(3)]
    events = pq.read_table(tmp_path / "out" / EVENTS).to_pylist()
    assert events == [{"path": "a", "label": "rain", "start_s": 0.5, "end_s": 2.0, "score": 0.9}]


def test_what_a_killed_run_leaves_is_removed(tmp_path: Path) -> None:
    """Files that were not renamed yet, and events whose scores were not written."""
    with RunFolder(tmp_path, SETTINGS) as folder:
        folder.write([scored("a", EVENT)])
    (tmp_path / SCORES / "part-000001.parquet.partial").write_bytes(b"PAR1 and so on")
    (tmp_path / EVENTS / "part-000001.parquet").write_bytes((tmp_path / EVENTS / "part-000000.parquet").read_bytes())
    with RunFolder(tmp_path, SETTINGS) as folder:
        assert folder.done() == {"a"}
    assert [path.name for path in tmp_path.rglob("part*")] == ["part-000000.parquet"] * 2


def test_items_with_errors_can_be_done_again(tmp_path: Path) -> None:
    with RunFolder(tmp_path, SETTINGS) as folder:
        folder.write([scored("a"), failed("b")])
        folder.write([failed("c")])
        assert folder.forget_failures() == 2
        assert folder.done() == {"a"}
        folder.write([scored("b")])
        assert folder.done() == {"a", "b"}


def test_two_runs_cannot_write_to_one_folder(tmp_path: Path) -> None:
    with RunFolder(tmp_path, SETTINGS), pytest.raises(FolderError, match="another run is writing"):
        RunFolder(tmp_path, SETTINGS)
    with RunFolder(tmp_path, SETTINGS):
        pass


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fingerprint": "other"}, "the weights are not those"),
        ({"labels": ("dog",)}, "the labels are not those"),
        ({"labels_digest": "other"}, "prompts, examples or thresholds"),
        ({"activation": "sigmoid"}, "`activation` is 'sigmoid', and 'softmax' in the rows"),
        ({"hop_s": 0.25}, "`hop_s` is 0.25, and 0.5"),
    ],
)
def test_other_settings_need_another_folder(change: dict[str, object], said: str, tmp_path: Path) -> None:
    with RunFolder(tmp_path, SETTINGS):
        pass
    with pytest.raises(FolderError) as caught:
        RunFolder(tmp_path, replace(SETTINGS, **change))  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "give another --out" in str(caught.value)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written"):
        RunFolder(tmp_path / "file", SETTINGS)
    (tmp_path / "bulk.json").write_text("{")
    with pytest.raises(FolderError, match=r"bulk\.json cannot be read"):
        RunFolder(tmp_path, SETTINGS)
