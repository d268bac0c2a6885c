"""Recordings on S3, by a local server."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer

from bulk.reading import opened
from bulk.setup import ReaderSetup
from bulk.sources import SourceError, expand

SETUP = ReaderSetup(8_000, 8_000, 8_000, "zero")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of the AWS libraries


@pytest.fixture(scope="module")
def bucket(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket with the recordings of folder `a`, and a tar file of them."""
    shard = tmp_path_factory.mktemp("shard") / "shard.tar"
    with tarfile.open(shard, "w") as archive:
        for path in sorted((recordings / "a").iterdir()):
            archive.add(path, path.name)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="sounds")
        for path in [*(recordings / "a").iterdir(), shard]:
            client.upload_file(str(path), "sounds", f"in/{path.name}")
        client.put_object(Bucket="sounds", Key="in/notes.md", Body=b"not a recording")
        yield "s3://sounds"
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


def test_a_prefix_a_glob_and_an_object_are_sources(bucket: str) -> None:
    files = [f"{bucket}/in/{n:02d}.wav" for n in (1, 3, 5, 7, 9, 11)]
    assert [item.path for item in expand([f"{bucket}/in/*.wav"])] == files
    assert [item.path for item in expand([f"{bucket}/in/03.wav"])] == files[1:2]
    assert [item.path for item in expand([f"{bucket}/in"])] == [
        *files,
        *(f"{bucket}/in/shard.tar/{n:02d}.wav" for n in (1, 3, 5, 7, 9, 11)),
    ]


@pytest.mark.parametrize("name", ["in/03.wav", "in/shard.tar/03.wav"])
def test_an_object_is_read_as_the_file(name: str, bucket: str, recordings: Path) -> None:
    (item,) = (each for each in expand([f"{bucket}/in"]) if each.path == f"{bucket}/{name}")
    (local,) = expand([str(recordings / "a/03.wav")])
    with opened(item, SETUP) as found, opened(local, SETUP) as expected:
        assert found == expected


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    with pytest.raises(SourceError, match="s3://none/"):
        list(expand(["s3://none/*.wav"]))
