"""TUT Acoustic Scenes 2017 (Mesaros et al. 2016): 15 places; trained on development, tested on evaluation."""

from pathlib import Path

from evaluation.layouts import rows
from evaluation.task import Clip, Split, Task

SCENES = {
    "beach": "beach",
    "bus": "bus",
    "cafe/restaurant": "cafe or restaurant",
    "car": "car",
    "city_center": "city center",
    "forest_path": "forest path",
    "grocery_store": "grocery store",
    "home": "home",
    "library": "library",
    "metro_station": "metro station",
    "office": "office",
    "park": "park",
    "residential_area": "residential area",
    "train": "train",
    "tram": "tram",
}
PARTS: dict[str, Split] = {"development": "train", "evaluation": "test"}
PREFIX = "TUT-acoustic-scenes-2017-"


def validation(root: Path) -> set[str]:
    """Files that fold 1 of the official set-up tests on: held out of training, with their whole recordings."""
    path = root / "evaluation_setup/fold1_evaluate.txt"
    return {row[0] for row in rows(path, "\t")} if path.exists() else set()


def read(root: Path) -> list[Clip]:
    clips = []
    for part, split in PARTS.items():
        folder = root / f"{PREFIX}{part}"
        if not (folder / "meta.txt").exists():
            continue
        held = validation(folder)
        for file, scene, *recording in rows(folder / "meta.txt", "\t"):
            clips.append(
                Clip(
                    folder / file,
                    (SCENES.get(scene, scene),),
                    "val" if file in held else split,
                    source=recording[0] if recording else "",
                )
            )
    return clips


TASK = Task(
    name="tut2017",
    title="TUT2017",
    layout="""TUT-acoustic-scenes-2017-development/
  meta.txt                  file, scene, recording (tabs, no header)
  evaluation_setup/fold1_evaluate.txt
  audio/b020_90_100.wav …
TUT-acoustic-scenes-2017-evaluation/
  meta.txt
  audio/1.wav …""",
    read=read,
    classes=tuple(SCENES.values()),
    class_count=15,
    official={"train": 3_510, "val": 1_170, "test": 1_620},
)
