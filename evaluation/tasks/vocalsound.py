"""VocalSound (Gong et al. 2022): six sounds people make, split by speaker."""

import json
from pathlib import Path

from evaluation.task import Clip, Split, Task

CLASSES = {
    "laughter": "laughter",
    "sigh": "sigh",
    "cough": "cough",
    "throatclearing": "throat clearing",
    "sneeze": "sneeze",
    "sniff": "sniff",
}
LISTS: dict[str, Split] = {"tr": "train", "val": "val", "te": "test"}


def read(root: Path) -> list[Clip]:
    audio = next((root / name for name in ("audio_44k", "audio_16k") if (root / name).is_dir()), None)
    if audio is None:
        return []
    clips = []
    for name, split in LISTS.items():
        path = root / "datafiles" / f"{name}.json"
        if not path.exists():
            continue
        for item in json.loads(path.read_text(encoding="utf-8"))["data"]:
            file = Path(item["wav"]).name  # the lists contain paths of the authors' machine
            speaker, *_, label = Path(file).stem.split("_")
            clips.append(Clip(audio / file, (CLASSES.get(label, label),), split, source=speaker))
    return clips


TASK = Task(
    name="vocalsound",
    title="VocalSound",
    layout="""audio_44k/ (or audio_16k/)
  f0003_0_cough.wav …       speaker_number_class
datafiles/
  tr.json val.json te.json""",
    read=read,
    classes=tuple(CLASSES.values()),
    class_count=6,
    official={"train": 15_570, "val": 1_860, "test": 3_594},
)
