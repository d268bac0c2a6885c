"""Recordings, a small checkpoint, and the command in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from bulk.command import app
from model.engine import Engine
from model.windows import Samples

RATE = 8_000
LABELS = ("dog", "rain", "cat", "siren")

Run = Callable[..., Result]


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """The models here are so small that threads cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def sound(seed: int, seconds: float) -> Samples:
    chance = np.random.default_rng(seed)
    tone = np.sin(np.arange(round(seconds * RATE)) * chance.uniform(0.05, 1.5))
    noisy = 0.3 * tone + 0.05 * chance.standard_normal(round(seconds * RATE))
    samples: Samples = noisy.astype(np.float32)
    return samples


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings of half a second to four, in two folders, and four files that cannot be read."""
    folder = tmp_path_factory.mktemp("recordings")
    for seed in range(12):
        place = folder / ("a" if seed % 2 else "b")
        place.mkdir(exist_ok=True)
        soundfile.write(place / f"{seed:02d}.wav", sound(seed, 0.5 + seed % 4), RATE)
    (folder / "b" / "broken.wav").write_bytes(b"RIFF")
    (folder / "b" / "empty.flac").write_bytes(b"")
    (folder / "b" / "page.mp3").write_bytes(b"<!doctype html><html>404</html>")
    (folder / "b" / "notes.md").write_text("not a recording")
    (folder / "b" / ".hidden.wav").write_bytes(b"RIFF")
    return folder


@pytest.fixture(scope="session")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("labels") / "labels.txt"
    file.write_text("# animals and others\n" + "\n".join(LABELS) + "\n")
    return file


@pytest.fixture(scope="session")
def engine(tiny_folder: Path) -> Engine:
    return Engine(tiny_folder, dtype="float32")


@pytest.fixture
def run(labels: Path, tiny_folder: Path) -> Run:
    """Runs `anysound bulk` with the labels and the small checkpoint."""

    def run(*arguments: object, out: Path) -> Result:
        given = [
            *map(str, arguments),
            "--labels",
            str(labels),
            "--model",
            str(tiny_folder),
            "--readers",
            "1",
            "--dtype",
            "float32",
        ]
        return CliRunner().invoke(app, [*given, "--out", str(out), "--device", "cpu"])

    return run
