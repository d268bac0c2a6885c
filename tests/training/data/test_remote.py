"""Shards at URLs: the same samples in the same order as here, whatever happens on the way."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from tests.training.data.faulty_proxy import Faults
from tests.training.data.s3 import put, served
from tests.training.recordings import tiny_recipe, write_recordings
from training.data import remote
from training.data.manifest import ManifestError, read_manifest
from training.data.remote import read_range
from training.data.shards import INDEX, read_shards, write_shards
from training.loop.run import train

# Client, proxy and server share this process, which is slow on a busy machine.
pytestmark = pytest.mark.timeout(400)

BUCKET = "s3://sounds/packed"


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four recordings in three shards, beside what `tiny_recipe` needs."""
    folder = tmp_path_factory.mktemp("data")
    tiny_recipe(folder)
    write_shards(read_manifest(folder / "manifest.jsonl"), folder / "packed", samples=8)
    return folder


@pytest.fixture(scope="module")
def store(packed: Path) -> Iterator[Faults]:
    """The shards, without their index, in an S3 server behind a proxy; fsspec finds it by the environment."""
    with served(packed / "packed") as (access, faults), environment(access):
        yield faults
        fsspec.filesystem("s3").clear_instance_cache()


def test_the_samples_are_those_of_the_shards_here(packed: Path, store: Faults) -> None:
    store.plan = ["busy", "cut", "none", "cut"]
    here, there = read_shards(packed / "packed"), read_shards(f"{BUCKET}/")
    assert [clip.captions for clip in there] == [clip.captions for clip in here]
    assert [clip.source for clip in there] == [clip.source for clip in here]
    assert not store.plan


@pytest.mark.parametrize("fault", ["busy", "cut", "stuck"])
def test_a_read_that_fails_is_repeated(
    packed: Path, store: Faults, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "ATTEMPT_S", 2.0)
    store.plan, store.seen = [fault, fault], []
    shard = packed / "packed" / "shard-000000.tar"
    assert read_range(f"{BUCKET}/shard-000000.tar", 100, 5_000) == shard.read_bytes()[100:5_100]
    assert store.seen == [fault, fault, "none"]


def test_a_run_on_them_resumes_to_the_same_losses_as_a_run_on_the_shards_here(packed: Path, store: Faults) -> None:
    url = f"{BUCKET}/shard-{{000000..000002}}.tar"
    near, far = (tiny_recipe(packed, data=[{"kind": "shards", "path": path}], epochs=1) for path in ("packed", url))
    train(near, packed, packed / "near")
    store.plan = ["busy", "cut"] * 3
    assert train(far, packed, packed / "far", stop_after=2).step == 2
    [index] = (packed / "far" / "index").glob("*.jsonl")
    made = index.stat().st_mtime_ns
    assert train(far, packed, packed / "far").finished
    assert index.stat().st_mtime_ns == made
    losses = [
        [json.loads(line)["loss"] for line in (packed / run / "steps.jsonl").read_text().splitlines()]
        for run in ("near", "far")
    ]
    assert losses[0] == losses[1]


def test_an_index_beside_the_shards_saves_reading_them(packed: Path, store: Faults) -> None:
    url = os.environ["AWS_ENDPOINT_URL"]
    put(url, "/indexed", b"")
    shard = packed / "packed" / "shard-000001.tar"
    put(url, f"/indexed/{shard.name}", shard.read_bytes())
    put(url, f"/indexed/{INDEX}", (packed / "packed" / INDEX).read_bytes())
    store.seen = []
    assert len(read_shards(f"s3://indexed/{shard.name}")) == 8
    assert len(store.seen) == 1


def test_a_command_s_output_is_kept_and_indexed(packed: Path, tmp_path: Path) -> None:
    shards = [packed / "packed" / f"shard-00000{number}.tar" for number in range(2)]
    commands = [f"pipe:echo run >> {tmp_path}/runs && cat {shlex.quote(str(shard))}" for shard in shards]
    here = read_shards([str(shard) for shard in shards])
    for _ in range(2):
        piped = read_shards(commands, index=tmp_path / "index")
        assert [clip.source for clip in piped] == [clip.source for clip in here]
    assert (tmp_path / "runs").read_text() == "run\n" * 2
    piped[0].audio.unlink()
    assert piped[0].source == here[0].source


def test_a_command_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    with pytest.raises(ManifestError, match="pipe:exit 3 cannot be read"):
        read_shards("pipe:exit 3", index=tmp_path)


def test_folders_lists_and_braces_are_one_source(packed: Path, tmp_path: Path) -> None:
    write_shards(read_manifest(write_recordings(tmp_path / "more", 4)), tmp_path / "other")
    clips = read_shards([str(tmp_path / "other"), "packed/shard-{000000..000001}.tar"], packed)
    assert len(clips) == 4 + 16
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ManifestError, match=r"nothing holds no shard"):
        read_shards("nothing", tmp_path)


def test_a_bucket_that_is_not_there_is_named(store: Faults) -> None:
    with pytest.raises(ManifestError, match="s3://nowhere/"):
        read_shards("s3://nowhere/shards/")
