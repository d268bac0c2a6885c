"""What the README promises of scores, kept by the whole service on the bundled checkpoint and real recordings."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest
import soundfile

EXAMPLES = Path(__file__).parents[1] / "examples"
LABELS = ["crow", "dog", "drums", "choir", "a person speaking", "rain"]
EXACT = 1e-5


def recording(name: str) -> bytes:
    return (EXAMPLES / name).read_bytes()


def encoded(samples: np.ndarray, rate: int, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def scores(address: str, clips: list[bytes], **fields: str) -> list[dict[str, float]]:
    """Label to score, for each clip."""
    answer = httpx2.post(
        f"{address}/v1/classify",
        files=[("audio", (f"clip-{number}", clip)) for number, clip in enumerate(clips)],
        data={"labels": LABELS, **fields},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    return [{score["label"]: score["score"] for score in result["scores"]} for result in answer.json()["results"]]


def distance(one: dict[str, float], other: dict[str, float]) -> float:
    return max(abs(one[label] - other[label]) for label in LABELS)


@pytest.fixture(scope="module")
def crow(address: str) -> dict[str, float]:
    [alone] = scores(address, [recording("crow.flac")])
    return alone


def test_the_right_label_is_on_top(crow: dict[str, float]) -> None:
    assert max(crow, key=lambda label: crow[label]) == "crow"


def test_scores_are_the_same_on_every_run(address: str, crow: dict[str, float]) -> None:
    [again] = scores(address, [recording("crow.flac")])
    assert distance(crow, again) < EXACT


def test_scores_are_the_same_alone_and_among_64_clips(address: str, crow: dict[str, float]) -> None:
    names = ["drums.flac", "choir.flac", "burp.flac", "speech.wav"] * 8
    requests = [[recording("crow.flac"), *map(recording, names[1:])], [recording(name) for name in names]]
    with ThreadPoolExecutor(2) as callers:  # both wait for the worker at once
        first, _ = callers.map(lambda clips: scores(address, clips), requests)
    assert distance(crow, first[0]) < EXACT


def test_a_stereo_clip_scores_as_its_mono_mix(address: str) -> None:
    left, rate = soundfile.read(EXAMPLES / "drums.flac", dtype="float32")
    left = left if left.ndim == 1 else left[:, 0]
    right = np.roll(left, rate // 3) * 0.25
    stereo = encoded(np.stack([left, right], axis=1), rate, subtype="FLOAT")
    mono = encoded((left + right) / 2, rate, subtype="FLOAT")
    one, other = scores(address, [stereo, mono])
    assert distance(one, other) < EXACT


def test_a_wav_scores_as_its_flac(address: str) -> None:
    samples, rate = soundfile.read(EXAMPLES / "speech.wav", dtype="int16")
    one, other = scores(address, [encoded(samples, rate), encoded(samples, rate, "FLAC")])
    assert distance(one, other) < EXACT


def test_an_unrelated_label_scores_near_nothing_with_sigmoid(address: str) -> None:
    [heard] = scores(address, [recording("drums.flac")], activation="sigmoid")
    assert heard["drums"] > 0.5
    assert heard["rain"] < 0.2
