"""Small recordings, manifests and recipes, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.checkpoints import TINY, write_tokenizer
from training.recipe import Recipe

WORDS = ("dog", "rain", "cat", "siren")
RATE = 8_000


def write_recordings(folder: Path, count: int, seconds: float = 1.5) -> Path:
    """`count` noises of four colours, each captioned with its word, and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        word = WORDS[number % len(WORDS)]
        tone = np.sin(np.arange(int(RATE * seconds)) * (0.1 + 0.3 * (number % len(WORDS))))
        samples = 0.2 * tone + 0.05 * rng.standard_normal(len(tone))
        soundfile.write(folder / f"{number}.wav", samples, RATE)
        rows.append({"audio": f"{number}.wav", "caption": f"a {word} {number}"})
    return write_manifest(folder / "manifest.jsonl", rows)


def write_manifest(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_tasks(folder: Path) -> Path:
    """Two recordings of music and two of speech where GTZAN has them."""
    for name, frequency in (("music_wav", 0.2), ("speech_wav", 0.7)):
        place = folder / "gtzan_music_speech" / name
        place.mkdir(parents=True)
        for number in range(2):
            soundfile.write(place / f"{number}.wav", 0.1 * np.sin(np.arange(RATE) * frequency), RATE)
    return folder


def tiny_recipe(folder: Path, count: int = 24, **members: Any) -> Recipe:
    """A recipe on `count` recordings written to `folder`: two epochs of three steps of eight pairs."""
    if not (folder / "manifest.jsonl").exists():
        write_recordings(folder, count)
        write_tokenizer(folder / "vocabulary")
    content: dict[str, Any] = {
        "data": [{"kind": "manifest", "path": "manifest.jsonl"}],
        "checkpoint": TINY.model_dump(),
        "start": {"text": "vocabulary", "text_weights": False},
        "epochs": 2,
        "batch": 8,
        "loading": {"workers": 0},
    }
    return Recipe.model_validate(content | members)
