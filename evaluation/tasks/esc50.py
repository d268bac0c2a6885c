"""ESC-50 (Piczak 2015): 50 classes of environmental sounds, 5 official folds by Freesound source."""

from pathlib import Path

from evaluation.layouts import spoken, table
from evaluation.task import Clip, Task

CLASSES = (
    "airplane", "breathing", "brushing_teeth", "can_opening", "car_horn", "cat", "chainsaw", "chirping_birds",
    "church_bells", "clapping", "clock_alarm", "clock_tick", "coughing", "cow", "crackling_fire", "crickets", "crow",
    "crying_baby", "dog", "door_wood_creaks", "door_wood_knock", "drinking_sipping", "engine", "fireworks",
    "footsteps", "frog", "glass_breaking", "hand_saw", "helicopter", "hen", "insects", "keyboard_typing", "laughing",
    "mouse_click", "pig", "pouring_water", "rain", "rooster", "sea_waves", "sheep", "siren", "sneezing", "snoring",
    "thunderstorm", "toilet_flush", "train", "vacuum_cleaner", "washing_machine", "water_drops", "wind",
)  # fmt: skip


def read(root: Path) -> list[Clip]:
    meta = root / "meta/esc50.csv"
    if not meta.exists():
        return []
    return [
        Clip(
            root / "audio" / row["filename"],
            (spoken(row["category"]),),
            fold=int(row["fold"]),
            source=row["src_file"],
        )
        for row in table(meta)
    ]


TASK = Task(
    name="esc50",
    title="ESC-50",
    layout="""ESC-50-master/
  meta/esc50.csv            filename,fold,target,category,esc10,src_file,take
  audio/1-100032-A-0.wav …  2,000 clips""",
    read=read,
    classes=tuple(map(spoken, CLASSES)),
    class_count=50,
    official={"all": 2_000},
)
