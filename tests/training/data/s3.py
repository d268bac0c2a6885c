"""A local S3 server with shards in it, behind a proxy with faults.

    python -m tests.training.data.s3 SHARDS DELAY_S COMMAND...

runs a command that finds the shards of the folder SHARDS at s3://sounds/packed/, DELAY_S seconds away.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moto.server import ThreadedMotoServer

from tests.training.data.faulty_proxy import Faults, proxy

ACCESS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}


def put(url: str, path: str, content: bytes) -> None:
    """Make the bucket or the object `path`."""
    headers = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=tests/20260101/us-east-1/s3/aws4_request",
        "Content-Type": "application/x-tar",
    }
    with urllib.request.urlopen(urllib.request.Request(url + path, content, headers, method="PUT")):  # noqa: S310
        pass


@contextmanager
def served(shards: Path) -> Iterator[tuple[dict[str, str], Faults]]:
    """The environment in which fsspec finds `shards` at s3://sounds/packed/, and the faults of the proxy."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with proxy(f"http://{host}:{port}") as (url, faults):
            put(url, "/sounds", b"")
            for shard in shards.glob("*.tar"):
                put(url, f"/sounds/packed/{shard.name}", shard.read_bytes())
            yield ACCESS | {"AWS_ENDPOINT_URL": url}, faults
    finally:
        server.stop()


def main(shards: str, delay_s: str, *command: str) -> int:
    with served(Path(shards)) as (environment, faults):
        faults.delay_s = float(delay_s)
        return subprocess.run(command, env=os.environ | environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
