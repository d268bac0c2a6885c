"""Mridangam Stroke 1.5 (Anantapadmanabhan et al. 2013): strokes of a South Indian drum, by stroke and by tonic."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from evaluation.layouts import recordings
from evaluation.task import Clip, Task

STROKES = ("bheem", "cha", "dheem", "dhin", "num", "ta", "tha", "tham", "thi", "thom")
TONICS = ("B", "C", "C#", "D", "D#", "E")
NAME = re.compile(r"\d+__[^_]+__(?P<stroke>[a-z]+)-(?P<tonic>[a-z]+)-\d+")

LAYOUT = """mridangam_stroke_1.5/
  B/224030__akshaylaya__bheem-b-001.wav …
  C/… C#/… D/… D#/… E/…"""


def read(root: Path, kind: Literal["stroke", "tonic"]) -> list[Clip]:
    clips = []
    for tonic in TONICS:
        for path in recordings(root / tonic):
            match = NAME.fullmatch(path.stem)
            stroke = match["stroke"] if match else path.stem
            clips.append(Clip(path, (stroke if kind == "stroke" else tonic,)))
    return clips


STROKE = Task(
    name="mridangam-stroke",
    title="Mridangam stroke",
    layout=LAYOUT,
    read=lambda root: read(root, "stroke"),
    classes=STROKES,
    class_count=10,
    official={"all": 6_977},
)
TONIC = Task(
    name="mridangam-tonic",
    title="Mridangam tonic",
    layout=LAYOUT,
    read=lambda root: read(root, "tonic"),
    classes=TONICS,
    class_count=6,
    official={"all": 6_977},
)
