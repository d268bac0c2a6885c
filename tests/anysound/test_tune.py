"""`anysound tune`: from labelled recordings to a label set that serves as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from service.api.routes.label_sets import build
from service.settings import Settings
from tests.anysound.command import run


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of beeps, of noise and of hums."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for number in range(6):
        noise = rng.standard_normal(16_000)
        time_s = np.arange(16_000) / 16_000
        for name, wave in (
            ("beep", 0.4 * np.sin(2 * np.pi * (900 + 40 * number) * time_s)),
            ("white_noise", 0.1 * noise),
            ("hum", 0.4 * np.sign(np.sin(2 * np.pi * (50 + number) * time_s))),
        ):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "data" / name / f"{number}.wav", wave + 0.002 * noise, 16_000)
    return tmp_path / "data"


def test_the_label_set_is_written_and_serves_as_it_is(labelled: Path, tmp_path: Path) -> None:
    labels, out = tmp_path / "labels.txt", tmp_path / "set.json"
    labels.write_text("beep\nwhite noise\n")
    result = run("tune", labelled, "--labels", labels, "--out", out, "--folds", 3)
    assert result.exit_code == 0, result.output
    assert "18 recordings, 3 folds" in result.stdout
    assert "mean F1" in result.stdout
    label_set, examples = build("tuned", json.loads(out.read_text()), Settings())
    assert not examples
    assert [label.name for label in label_set.labels] == ["beep", "white noise"]
    assert any(label.threshold is not None for label in label_set.labels)
    scored = run("classify", labelled / "beep/0.wav", "--labels", out, "--json")
    assert json.loads(scored.stdout)["scores"][0]["label"] == "beep"


def test_what_cannot_be_tuned_says_why(labelled: Path, tmp_path: Path) -> None:
    labels, out = tmp_path / "labels.json", tmp_path / "set.json"

    def complaint(text: str, data: Path = labelled) -> str:
        labels.write_text(text)
        result = run("tune", data, "--labels", labels, "--out", out)
        assert result.exit_code == 2, result.output
        return result.stderr

    assert "no recording of the label 'rain'" in complaint("beep\nrain\n")
    assert "is there twice" in complaint("beep\nbeep\n")
    assert "has examples" in complaint('[{"name": "beep", "examples": ["data/beep/0.wav"]}]')
    assert "does not hold" in complaint("beep\n", tmp_path / "nowhere")
    assert not out.exists()
