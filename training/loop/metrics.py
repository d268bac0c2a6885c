"""What a run reports: JSON lines per step and per epoch, TensorBoard, a progress bar, and `curves.png`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from training.loop.curves import plot_curves
from training.loop.validate import ValidationResult

STEPS = "steps.jsonl"
EPOCHS = "epochs.jsonl"
CURVES = "curves.png"


@dataclass(frozen=True)
class StepMetrics:
    """One step's row. `clips_per_s` and `audio_s` count all ranks; `data_wait_s` is this rank's wait for its batch."""

    step: int
    epoch: int
    loss: float
    temperature: float
    learning_rate: float
    gradient_norm: float
    recall_at_1: float
    clips_per_s: float
    audio_s: float
    data_wait_s: float
    broken: int


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a last row that a crash cut short is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class MetricsLog:
    """The metrics of a run that starts, or resumes, after `step` steps and `epochs` validated epochs.

    Rows of later steps and epochs are deleted: the run was killed after its last state and will repeat them.
    """

    def __init__(self, run: Path, steps: int, step: int, epochs: int, console: Console | None = None) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self.run = run
        console = console or Console(stderr=True)
        self._steps = _reopened(run / STEPS, (row for row in read_lines(run / STEPS) if row["step"] < step))
        self._epochs = _reopened(run / EPOCHS, (row for row in read_lines(run / EPOCHS) if row["epoch"] < epochs))
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=step or None)
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[shown]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.bar = self.progress.add_task("training", total=steps, completed=step, epoch=epochs, shown="")
        self.progress.start()

    def step(self, row: StepMetrics) -> None:
        self._steps.write(json.dumps(asdict(row)) + "\n")
        self._steps.flush()
        for name, value in asdict(row).items():
            if name not in ("step", "epoch"):
                self.board.add_scalar(f"train/{name}", value, row.step)
        shown = (
            f"loss {row.loss:.3f}  {row.clips_per_s:.0f} clips/s  temperature {row.temperature:.4f}  "
            f"{row.audio_s:.0f} s of audio"
        )
        self.progress.update(self.bar, completed=row.step + 1, epoch=row.epoch, shown=shown)

    def epoch(self, step: int, epoch: int, training_loss: float, result: ValidationResult) -> None:
        row = {"step": step, "epoch": epoch, "training_loss": training_loss, **asdict(result), "score": result.score}
        self._epochs.write(json.dumps(row) + "\n")
        self._epochs.flush()
        scalars = {f"validation/{name}": value for name, value in result.recalls.items()}
        scalars |= {f"zero-shot/{name}": value for name, value in result.zero_shot.items()}
        if result.loss is not None:
            scalars["validation/loss"] = result.loss
        for name, value in scalars.items():
            self.board.add_scalar(name, value, step)
        self.board.flush()
        plot_curves(read_lines(self.run / STEPS), read_lines(self.run / EPOCHS), self.run / CURVES)
        figures = [f"loss {training_loss:.3f}"]
        figures += [] if result.loss is None else [f"validation {result.loss:.3f}"]
        figures += [f"{name} {value:.3f}" for name, value in result.zero_shot.items()]
        self.progress.console.print(f"epoch {epoch}: {', '.join(figures)}", highlight=False)

    def close(self) -> None:
        self.progress.stop()
        self._steps.close()
        self._epochs.close()
        self.board.close()


@contextmanager
def metrics_log(run: Path, steps: int, step: int, epochs: int, leader: bool) -> Iterator[MetricsLog | None]:
    """The leader's log, closed when the block ends; None on the other ranks."""
    if not leader:
        yield None
        return
    log = MetricsLog(run, steps, step, epochs)
    try:
        yield log
    finally:
        log.close()


def _reopened(path: Path, rows: Iterable[dict[str, Any]]) -> Any:
    """Rewrite `path` with `rows` alone and open it to append."""
    kept = path.with_name(f"{path.name}.partial")
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    kept.replace(path)
    return path.open("a", encoding="utf-8")
