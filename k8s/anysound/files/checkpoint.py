"""Download a checkpoint to where the service expects it, or verify the one there. Exits with 1 if it is wrong."""

from __future__ import annotations

import argparse
import hashlib
import sys
import tarfile
import urllib.request
from pathlib import Path

CHUNK = 1 << 20


def fetch(url: str, sha256: str, folder: Path) -> None:
    """Download and unpack the tar archive at `url`. Raises ValueError, unpacking nothing, if its SHA-256 differs."""
    archive = folder / ".archive"
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=60) as source, archive.open("wb") as target:  # noqa: S310 - the chart's URL
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            target.write(chunk)
    try:
        if digest.hexdigest() != sha256:
            raise ValueError(f"{url} has SHA-256 {digest.hexdigest()}, not {sha256}")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    finally:
        archive.unlink()


def check(folder: Path, fingerprint: str) -> None:
    """Raise ValueError unless `folder` holds the checkpoint of that fingerprint."""
    from model.checkpoint import CheckpointError, load

    try:
        found = load(folder).fingerprint
    except CheckpointError as error:
        raise ValueError(str(error)) from None
    if found != fingerprint:
        raise ValueError(f"{folder} has fingerprint {found}, not {fingerprint}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="directory where checkpoints are mounted")
    parser.add_argument("--path", default="", help="path of the checkpoint inside the folder")
    parser.add_argument("--url", help="address of a tar archive to download")
    parser.add_argument("--sha256", help="SHA-256 of the archive")
    parser.add_argument("--fingerprint", help="fingerprint that the checkpoint must have")
    options = parser.parse_args()
    try:
        if options.url:
            fetch(options.url, options.sha256, options.folder)
        checkpoint = options.folder / options.path
        if not (checkpoint / "config.json").is_file():
            raise ValueError(f"no checkpoint at {checkpoint}: config.json is missing")
        if options.fingerprint:
            check(checkpoint, options.fingerprint)
    except (OSError, ValueError, tarfile.TarError) as error:
        print(f"checkpoint: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
