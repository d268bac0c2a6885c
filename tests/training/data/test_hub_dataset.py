"""Hugging Face data sets as a source."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from datasets import Audio, Dataset

from tests.training.recordings import tiny_recipe
from training.data.hub_dataset import read_dataset
from training.data.hub_rows import opened, url_of
from training.data.manifest import ManifestError, read_manifest
from training.loop.run import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings of `tiny_recipe` as a saved data set, and as Parquet files."""
    folder = tmp_path_factory.mktemp("data")
    tiny_recipe(folder)
    clips = read_manifest(folder / "manifest.jsonl")
    rows = {
        "sound": [{"bytes": clip.audio.read_bytes(), "path": clip.audio.name} for clip in clips],
        "text": [list(clip.captions) for clip in clips],
        "tag": ["" for _ in clips],
    }
    made = Dataset.from_dict(rows).cast_column("sound", Audio(decode=False))
    made.save_to_disk(folder / "saved")
    (folder / "parquet").mkdir()
    made.to_parquet(folder / "parquet" / "train.parquet")
    return folder


@pytest.mark.parametrize("form", ["saved", "parquet"])
def test_rows_are_the_recordings_with_their_captions(folder: Path, form: str) -> None:
    found = read_dataset(str(folder / form), None, "train", "sound", ["tag", "text"])
    expected = read_manifest(folder / "manifest.jsonl")
    assert [clip.captions for clip in found] == [clip.captions for clip in expected]
    assert [clip.source for clip in found] == [clip.audio.read_bytes() for clip in expected]


def test_threads_that_need_a_data_set_at_once_open_it_once(folder: Path) -> None:
    urls = [url_of(str(folder / "saved"), str(turn), "train", "sound") for turn in range(5)]
    with ThreadPoolExecutor(8) as threads:
        for url in urls:
            assert len({id(rows) for rows in threads.map(opened, [url] * 8)}) == 1


@pytest.mark.timeout(400)  # a worker imports torch, which takes long on a busy machine
def test_a_run_trains_on_them_with_worker_processes(folder: Path) -> None:
    source = {"kind": "dataset", "path": "saved", "audio": "sound", "captions": ["text"]}
    recipe = tiny_recipe(folder, data=[source], epochs=1, loading={"workers": 1})
    assert train(recipe, folder, folder / "run").step == 3


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("saved", ["caption"], r"has no column 'caption', only sound, text, tag"),
        ("saved", ["tag"], "has no caption in tag"),
        ("nowhere", ["text"], "cannot be opened"),
    ],
)
def test_what_is_wrong_is_named(
    folder: Path, name: str, columns: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ManifestError, match=message):
        read_dataset(str(folder / name), None, "train", "sound", columns)
