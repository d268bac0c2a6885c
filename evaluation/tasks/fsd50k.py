"""FSD50K (Fonseca et al. 2022): 200 classes of the AudioSet ontology, several per clip."""

from pathlib import Path

from evaluation.layouts import Row, rows, spoken, table
from evaluation.task import Clip, Task

TRUTH = "FSD50K.ground_truth"


def classes(root: Path) -> tuple[str, ...]:
    return tuple(spoken(name) for _, name, _ in rows(root / TRUTH / "vocabulary.csv"))


def labels(row: Row) -> tuple[str, ...]:
    return tuple(map(spoken, row["labels"].split(",")))


def read(root: Path) -> list[Clip]:
    truth = root / TRUTH
    if not (truth / "vocabulary.csv").exists():
        return []
    clips = []
    if (truth / "dev.csv").exists():
        for row in table(truth / "dev.csv"):
            path = root / "FSD50K.dev_audio" / f"{row['fname']}.wav"
            clips.append(Clip(path, labels(row), "val" if row["split"] == "val" else "train"))
    if (truth / "eval.csv").exists():
        heard = root / "FSD50K.eval_audio"
        clips += [Clip(heard / f"{row['fname']}.wav", labels(row), "test") for row in table(truth / "eval.csv")]
    return clips


TASK = Task(
    name="fsd50k",
    title="FSD50K",
    layout="""FSD50K.dev_audio/64760.wav …
FSD50K.eval_audio/37199.wav …
FSD50K.ground_truth/
  vocabulary.csv            index,label,mid (no header)
  dev.csv                   fname,labels,mids,split
  eval.csv                  fname,labels,mids""",
    read=read,
    classes=classes,
    class_count=200,
    official={"train": 36_796, "val": 4_170, "test": 10_231},
    metric="mAP",
)
