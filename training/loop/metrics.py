"""What a run reports: JSON lines per step and per epoch, TensorBoard, a progress bar, and `curves.png`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from training.loop.curves import plot_curves
from training.loop.tracking import tracked
from training.loop.validate import ValidationResult
from training.recipe import Recipe

STEPS = "steps.jsonl"
EPOCHS = "epochs.jsonl"
VALIDATIONS = "validations.jsonl"
CURVES = "curves.png"

INTERVAL_S = 30.0
"""Time between two lines where there is no terminal to draw a progress bar on."""


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

    def __init__(
        self,
        run: Path,
        steps: int,
        step: int,
        epochs: int,
        console: Console | None = None,
        track: Callable[[dict[str, float], int], None] | None = None,
    ) -> None:
        """`track` is called with the figures of each step and each validation."""
        run.mkdir(parents=True, exist_ok=True)
        self.run = run
        self.track = track
        console = console or Console(stderr=True)
        self._steps = _reopened(run / STEPS, (row for row in read_lines(run / STEPS) if row["step"] < step))
        self._epochs = _reopened(run / EPOCHS, (row for row in read_lines(run / EPOCHS) if row["epoch"] < epochs))
        between = (row for row in read_lines(run / VALIDATIONS) if row["step"] <= step)
        self._validations = _reopened(run / VALIDATIONS, between)
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
        self._said = -math.inf

    def step(self, row: StepMetrics) -> None:
        self._steps.write(json.dumps(asdict(row)) + "\n")
        self._steps.flush()
        self._scalars(
            {f"train/{name}": value for name, value in asdict(row).items() if name not in ("step", "epoch")}, row.step
        )
        shown = (
            f"loss {row.loss:.3f}  {row.clips_per_s:.0f} clips/s  temperature {row.temperature:.4f}  "
            f"{row.audio_s:.0f} s of audio"
        )
        self.progress.update(self.bar, completed=row.step + 1, epoch=row.epoch, shown=shown)
        if self.progress.disable and time.monotonic() - self._said >= INTERVAL_S:
            self._said = time.monotonic()
            total = self.progress.tasks[0].total or 0
            self.progress.console.print(
                f"step {row.step + 1} of {total:.0f}, epoch {row.epoch}: {shown}", highlight=False, soft_wrap=True
            )

    def epoch(self, step: int, epoch: int, training_loss: float, result: ValidationResult) -> None:
        row = {"step": step, "epoch": epoch, "training_loss": training_loss, **asdict(result), "score": result.score}
        self._epochs.write(json.dumps(row) + "\n")
        self._epochs.flush()
        self._scalars(scalars(result), step)
        self.board.flush()
        plot_curves(read_lines(self.run / STEPS), read_lines(self.run / EPOCHS), self.run / CURVES)
        shown = ", ".join(filter(None, (f"loss {training_loss:.3f}", figures(result))))
        self.progress.console.print(f"epoch {epoch}: {shown}", highlight=False, soft_wrap=True)

    def _scalars(self, named: dict[str, float], step: int) -> None:
        for name, value in named.items():
            self.board.add_scalar(name, value, step)
        if self.track is not None:
            self.track(named, step)

    def between(self, step: int, result: ValidationResult) -> None:
        """A validation within an epoch."""
        self._validations.write(json.dumps({"step": step, **asdict(result), "score": result.score}) + "\n")
        self._validations.flush()
        self._scalars(scalars(result), step)
        self.progress.console.print(f"step {step}: {figures(result)}", highlight=False, soft_wrap=True)

    def mixed(self, scores: Mapping[float, float], share: float) -> None:
        """The score of each share of the trained weights, and the share that was taken."""
        tried = ", ".join(f"{tried:g}: {score:.3f}" for tried, score in scores.items())
        self.progress.console.print(
            f"share of the trained weights {share:g} (score of each: {tried})", highlight=False, soft_wrap=True
        )

    def close(self) -> None:
        self.progress.stop()
        self._validations.close()
        self._steps.close()
        self._epochs.close()
        self.board.close()


def scalars(result: ValidationResult) -> dict[str, float]:
    """A validation's figures by their names in TensorBoard."""
    found = {f"validation/{name}": value for name, value in result.recalls.items()}
    found |= {f"zero-shot/{name}": value for name, value in result.zero_shot.items()}
    return found if result.loss is None else found | {"validation/loss": result.loss}


def figures(result: ValidationResult) -> str:
    """A validation's loss and zero-shot figures in one line."""
    shown = [] if result.loss is None else [f"validation {result.loss:.3f}"]
    return ", ".join([*shown, *(f"{name} {value:.3f}" for name, value in result.zero_shot.items())])


@contextmanager
def metrics_log(
    run: Path, steps: int, step: int, epochs: int, leader: bool, recipe: Recipe | None = None
) -> Iterator[MetricsLog | None]:
    """The leader's log, closed when the block ends; None on the other ranks. `recipe` may ask for Weights & Biases."""
    if not leader:
        yield None
        return
    with ExitStack() as stack:
        track = [] if recipe is None or recipe.wandb is None else [stack.enter_context(tracked(recipe, run))]
        log = MetricsLog(run, steps, step, epochs, None, *track)
        stack.callback(log.close)
        yield log


def _reopened(path: Path, rows: Iterable[dict[str, Any]]) -> Any:
    """Rewrite `path` with `rows` alone and open it to append."""
    kept = path.with_name(f"{path.name}.partial")
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    kept.replace(path)
    return path.open("a", encoding="utf-8")
