"""WebDataset shards: what is packed is what is read, and what cannot be read is named."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from webdataset.tariterators import group_by_keys, tar_file_expander

from tests.checkpoints import TINY
from tests.training.recordings import tiny_recipe, write_manifest, write_recordings
from training.data.loader import Segments
from training.data.manifest import ManifestError, read_manifest
from training.data.sampler import Draw
from training.data.shards import read_shards, write_shards
from training.loop.run import train


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_packed_recordings_are_read_as_the_loose_ones_were(tmp_path: Path) -> None:
    clips = read_manifest(write_recordings(tmp_path / "data", 10))
    assert write_shards(clips, tmp_path / "shards", samples=4) == (10, 0)
    packed = read_shards(tmp_path / "shards")
    assert [path.name for path in sorted((tmp_path / "shards").iterdir())] == [
        "index.jsonl",
        "shard-000000.tar",
        "shard-000001.tar",
        "shard-000002.tar",
    ]
    assert sorted(clip.captions for clip in packed) == sorted(clip.captions for clip in clips)
    loose = {clip.captions: clip for clip in clips}
    for clip in packed:
        pair = Segments([clip], TINY.front_end, 0), Segments([loose[clip.captions]], TINY.front_end, 0)
        inside, outside = (segments[Draw(0, 0)].window for segments in pair)
        np.testing.assert_allclose(inside, outside, atol=1e-4)


def test_the_webdataset_library_reads_them(tmp_path: Path) -> None:
    write_shards(read_manifest(write_recordings(tmp_path / "data", 3)), tmp_path / "shards")
    with (tmp_path / "shards" / "shard-000000.tar").open("rb") as shard:
        samples = list(group_by_keys(tar_file_expander([{"url": "shard", "stream": shard}])))
    assert sorted(json.loads(sample["json"])["captions"][0] for sample in samples) == ["a cat 2", "a dog 0", "a rain 1"]
    assert all(sample["wav"].startswith(b"RIFF") for sample in samples)


def test_shards_of_others_are_read(tmp_path: Path) -> None:
    audio = write_recordings(tmp_path / "data", 1).with_name("0.wav").read_bytes()
    members = {
        "a.wav": audio,
        "a.json": b'{"text": ["one", "two"], "tag": ["x"]}',
        "b.wav": audio,
        "b.txt": b"three\n",
        "c.wav": audio,
        "c.json": b'{"caption": "four"}',
    }
    write_tar(tmp_path / "x.tar", members)
    assert [clip.captions for clip in read_shards(tmp_path)] == [("one", "two"), ("three",), ("four",)]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.json": b'{"caption": "x"}'}, "sample a has no audio"),
        ({"a.wav": b"RIFF"}, "sample a has no caption"),
        ({"a.wav": b"RIFF", "a.json": b"{"}, "no readable JSON"),
        ({"a.wav": b"RIFF", "a.json": b"[]"}, "sample a has no caption"),
    ],
)
def test_a_sample_that_cannot_be_used_is_named(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    write_tar(tmp_path / "x.tar", members)
    with pytest.raises(ManifestError, match=message):
        read_shards(tmp_path)


@pytest.mark.parametrize("size", [100, 700, 20_000])
def test_a_shard_cut_short_is_named(tmp_path: Path, size: int) -> None:
    clips = read_manifest(write_recordings(tmp_path / "data", 4))
    write_shards(clips, tmp_path / "shards")
    with (tmp_path / "shards" / "shard-000000.tar").open("r+b") as file:
        file.truncate(size)
    with pytest.raises(ManifestError, match=r"shard-000000\.tar (cannot be read|is cut short)"):
        read_shards(tmp_path / "shards")


def test_a_folder_without_shards_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="holds no shard"):
        read_shards(tmp_path)


def test_a_recording_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    manifest = write_recordings(tmp_path / "data", 3)
    (tmp_path / "data" / "1.wav").write_bytes(b"no")
    assert write_shards(read_manifest(manifest), tmp_path / "shards") == (2, 1)


def test_shards_are_not_written_over(tmp_path: Path) -> None:
    clips = read_manifest(write_recordings(tmp_path / "data", 2))
    write_shards(clips, tmp_path / "shards")
    with pytest.raises(FileExistsError, match="holds shards already"):
        write_shards(clips, tmp_path / "shards")


def test_one_shard_is_enough_for_any_number_of_workers(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        tmp_path, data=[{"kind": "shards", "path": "shards"}], loading={"workers": 2}, epochs=1, limit=24
    )
    write_shards(read_manifest(tmp_path / "manifest.jsonl"), tmp_path / "shards", samples=100)
    assert train(recipe, tmp_path, tmp_path / "run").step == 3


def test_captions_of_one_packed_recording_are_no_negatives(tmp_path: Path) -> None:
    write_recordings(tmp_path / "data", 1)
    rows = [{"audio": "0.wav", "captions": ["a dog", "a cat"]}]
    write_shards(read_manifest(write_manifest(tmp_path / "data" / "m.jsonl", rows)), tmp_path / "shards")
    segments = Segments(read_shards(tmp_path / "shards"), TINY.front_end, 0)
    first, second = (segments[Draw(0, pair)] for pair in (0, 1))
    assert first.recording == second.recording
    assert first.caption != second.caption
    assert torch.isfinite(torch.from_numpy(first.window)).all()
