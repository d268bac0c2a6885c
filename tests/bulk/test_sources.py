"""SOURCE arguments: what becomes an item, in which order, under which name."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk.item import Place
from bulk.reading import opened
from bulk.setup import ReaderSetup
from bulk.sources import SourceError, expand

SETUP = ReaderSetup(8_000, 8_000, 8_000, "zero")


def names(*sources: object) -> list[str]:
    return [item.path for item in expand(map(str, sources))]


def test_a_folder_gives_its_recordings_sorted_and_without_hidden_files(recordings: Path) -> None:
    found = names(recordings)
    assert found == sorted(found)
    assert len(found) == 15
    assert not any("notes" in name or "hidden" in name for name in found)


def test_a_file_that_is_named_is_taken_whatever_its_suffix(recordings: Path) -> None:
    assert names(recordings / "b" / "notes.md") == [str(recordings / "b" / "notes.md")]


def test_a_glob_is_sorted_and_an_item_is_taken_once(recordings: Path) -> None:
    first = recordings / "a" / "03.wav"
    assert names(first, f"{recordings}/a/*.wav", recordings / "a") == [
        str(first),
        *(str(recordings / "a" / f"{n:02d}.wav") for n in (1, 5, 7, 9, 11)),
    ]
    assert len(names(f"{recordings}/**/*.wav")) == 13


def test_a_name_of_any_bytes_is_an_item(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    with open(path, "wb") as file:  # noqa: PTH123 - bytes
        file.write(b"data")
    (item,) = expand([str(tmp_path)])
    assert item.path.endswith(r"caf\xe9.wav")
    with opened(item, SETUP) as (data, _):
        assert data == b"data"


def test_the_members_of_a_tar_file_are_items(recordings: Path, tmp_path: Path) -> None:
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as archive:
        for path in sorted((recordings / "b").iterdir()):
            archive.add(path, path.name)
    items = list(expand([str(shard)]))
    assert [item.path for item in items][:2] == [f"{shard}/00.wav", f"{shard}/02.wav"]
    with opened(items[1], SETUP) as (data, digest), opened(next(expand([str(recordings / "b/02.wav")])), SETUP) as file:
        assert (data, digest) == file
    assert names(tmp_path) == names(shard)


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.jsonl", "list.parquet", "list.txt"])
def test_a_manifest_names_recordings_beside_it_and_elsewhere(name: str, tmp_path: Path) -> None:
    manifest, rows = tmp_path / name, ["one.wav", "/data/two.wav", "https://example.com/3?x=1", "s3://bucket/4.mp3"]
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"n": [1, 2, 3, 4], "path": rows}), manifest)
    elif name.endswith(".jsonl"):
        manifest.write_text("".join(f'{{"path": "{row}", "n": 1}}\n' for row in rows))
    elif name.endswith(".txt"):
        manifest.write_text("# recordings\n" + "\n".join(rows) + "\n\n")
    else:
        comma = "," if name.endswith(".csv") else "\t"
        manifest.write_text(f"n{comma}path\n" + "".join(f"1{comma}{row}\n" for row in rows))
    items = list(expand([str(manifest)]))
    assert [item.path for item in items] == [str(tmp_path / "one.wav"), *rows[1:]]
    assert [item.place for item in items] == [Place.FILE, Place.FILE, Place.WEB, Place.REMOTE]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.csv", "name,n\na.wav,1\n", "none of the columns path"),
        ("list.jsonl", '{"path": ""}\n', ":1: no path"),
        ("list.jsonl", "a.wav\n", ":1: not JSON"),
        ("list.parquet", "PAR1", "cannot be read as Parquet"),
        ("shard.tar", "not a tar file" * 100, "cannot be read as a tar file"),
        ("shard.tar.gz", "", "unpack it"),
    ],
)
def test_a_source_that_cannot_be_used_is_named(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=said) as caught:
        names(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"), [("none.wav", "no such file"), ("none/*.wav", "no file matches"), ("nofs://x/y", "nofs")]
)
def test_a_source_that_is_not_there_is_named(source: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        names(source)
