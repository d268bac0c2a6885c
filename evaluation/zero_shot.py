"""Zero-shot evaluation: every class name put into the prompt, every clip given the nearest one (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from evaluation.tasks import Clip, Task
from model.audio import AudioError
from model.checkpoint import Checkpoint
from model.classify import LabelPrompts, clip_embedding
from model.embed import clip_windows, embed_prompts, embed_windows
from model.prompts import Embeddings, Label

Confusion = npt.NDArray[np.int64]
BATCH = 32


@dataclass(frozen=True)
class Result:
    """Figures over the clips that could be read; the others are named in `unreadable`."""

    task: str
    title: str
    classes: tuple[str, ...]
    confusion: Confusion  # [true, predicted]
    unreadable: tuple[str, ...] = field(default=())

    @property
    def clips(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / max(self.clips, 1))

    @property
    def recalls(self) -> dict[str, float]:
        """Share of each class's clips that got its name."""
        totals = np.maximum(self.confusion.sum(axis=1), 1)
        return dict(zip(self.classes, (np.diag(self.confusion) / totals).tolist(), strict=True))


def embed_clips(
    checkpoint: Checkpoint, paths: Sequence[Path], progress: Progress | None = None
) -> tuple[Embeddings, list[int], list[str]]:
    """Clips -> embeddings [read, d], the indices of those that were read, and why the others were not.

    Windows of different clips share a batch; two threads read ahead while the encoder runs.
    """
    bar = progress.add_task("embedding", total=len(paths)) if progress else None
    sums: dict[int, list[Embeddings]] = {}
    waiting: list[tuple[int, npt.NDArray[np.float32]]] = []
    unreadable: list[str] = []

    def flush() -> None:
        vectors = embed_windows(checkpoint, np.stack([window for _, window in waiting]), BATCH)
        for (index, _), vector in zip(waiting, vectors, strict=True):
            sums.setdefault(index, []).append(vector)
        waiting.clear()

    def attempt(path: Path) -> npt.NDArray[np.float32] | str:
        try:
            return clip_windows(path, checkpoint)[0]
        except (AudioError, OSError) as error:
            return f"{path.name}: {error}"

    with ThreadPoolExecutor(2) as readers:
        for first in range(0, len(paths), 4 * BATCH):
            part = paths[first : first + 4 * BATCH]
            for offset, windows in enumerate(readers.map(attempt, part)):
                if isinstance(windows, str):
                    unreadable.append(windows)
                else:
                    waiting.extend((first + offset, window) for window in windows)
                if len(waiting) >= BATCH:
                    flush()
                if progress and bar is not None:
                    progress.advance(bar)
    if waiting:
        flush()
    read = sorted(sums)
    return np.stack([clip_embedding(np.stack(sums[index])) for index in read]), read, unreadable


def class_embeddings(checkpoint: Checkpoint, classes: Sequence[str], template: str) -> Embeddings:
    """One embedding a class name [classes, d]."""
    prompts = LabelPrompts(tuple(map(Label, classes)), template, checkpoint.config.prompts.background)
    texts = prompts.prompts
    return prompts.assemble(dict(zip(texts, embed_prompts(checkpoint, texts), strict=True))).positive


def evaluate(checkpoint: Checkpoint, task: Task, clips: Sequence[Clip], progress: Progress | None = None) -> Result:
    """Accuracy of one task. Raises ValueError where not one clip could be read."""
    audio, read, unreadable = embed_clips(checkpoint, [clip.path for clip in clips], progress)
    classes = task.classes or tuple(sorted({clip.label for clip in clips}))
    text = class_embeddings(checkpoint, classes, task.template)
    predicted = (audio @ text.T).argmax(axis=1)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for index, guess in zip(read, predicted, strict=True):
        confusion[classes.index(clips[index].label), guess] += 1
    return Result(task.name, task.title, classes, confusion, tuple(unreadable))
