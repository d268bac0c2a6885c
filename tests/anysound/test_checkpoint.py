from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.checkpoint import fingerprint, read_config
from model.config import BUNDLED
from tests.anysound.command import run
from tests.model.importers.peers import write_transformers_clap


def test_checkpoint_info_says_what_it_is(tiny_folder: Path) -> None:
    text = run("checkpoint", "info", tiny_folder).stdout
    assert "tiny" in text
    assert "8000 Hz" in text
    assert "mobilenet" in text


# Calibration for examples


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    """Three recordings of a beep, three of noise."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(6):
        noise = rng.standard_normal(8_000)
        beep = np.sin(2 * np.pi * (900 + 50 * number) * np.arange(8_000) / 8_000)
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], 0.4 * beep + 0.01 * noise if number < 3 else 0.1 * noise, 8_000)
    return paths


def manifest(recordings: list[Path], *captions: str) -> Path:
    rows = [{"audio": path.name, "caption": caption} for path, caption in zip(recordings, captions, strict=True)]
    path = recordings[0].with_name("manifest.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_calibrate_writes_the_constants_and_says_the_new_fingerprint(tmp_path: Path, recordings: list[Path]) -> None:
    folder = Path(shutil.copytree(BUNDLED, tmp_path / "copy"))
    before = fingerprint(folder), read_config(folder)
    listed = manifest(recordings, *["the sound of beep"] * 3, *["white noise"] * 3)
    result = run("checkpoint", "calibrate", folder, listed.parent)
    assert result.exit_code == 0, result.output
    after = read_config(folder)
    assert after.example_scale is not None
    assert after == before[1].model_copy(update={"example_scale": after.example_scale})
    assert f"tau1  {after.example_scale.tau1:.4f}" in result.stdout
    assert fingerprint(folder) in result.stdout
    assert fingerprint(folder) != before[0]
    assert f"a1 {after.example_scale.a1:g}" in " ".join(run("checkpoint", "info", folder).stdout.split())


def test_calibrate_says_why_it_cannot(tiny_folder: Path, tmp_path: Path, recordings: list[Path]) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    one = run("checkpoint", "calibrate", folder, manifest(recordings, *["rain"] * 6))
    assert one.exit_code == 2
    assert "two captions that several recordings have" in one.stderr
    collapsed = run("checkpoint", "calibrate", folder, manifest(recordings, *["rain"] * 3, *["a dog"] * 3))
    assert "right pairs must be nearer" in collapsed.stderr  # an untrained model embeds everything alike
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "manifest.jsonl" in run("checkpoint", "calibrate", folder, empty).stderr
    assert "config.json" in run("checkpoint", "calibrate", empty, manifest(recordings, *["rain", "a dog"] * 3)).stderr
    assert fingerprint(folder) == fingerprint(tiny_folder)


def test_import_calibrates_what_it_has_written(tmp_path: Path, recordings: list[Path]) -> None:
    """An untrained model takes the captions one way round or the other: one way calibrates it, the other cannot."""
    write_transformers_clap(tmp_path / "released")
    ends = {}
    for first, second in (("a beep", "white noise"), ("white noise", "a beep")):
        folder = tmp_path / first
        listed = manifest(recordings, *[first] * 3, *[second] * 3)
        result = run("checkpoint", "import", "transformers", tmp_path / "released", folder, "--calibrate", listed)
        ends[result.exit_code] = result
        scale = read_config(folder).example_scale
        assert (scale is not None) == (result.exit_code == 0), result.output
        assert (fingerprint(folder) in result.stdout) == (result.exit_code == 0)
    assert set(ends) == {0, 2}
    assert "right pairs must be nearer" in ends[2].stderr
