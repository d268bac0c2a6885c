"""What a run shows: a progress bar, one JSON line a step, TensorBoard, and the curves beside the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from training.loop.validate import Judgement

STEPS = "steps.jsonl"
EPOCHS = "epochs.jsonl"
CURVES = "curves.png"


@dataclass(frozen=True)
class Step:
    """One step's line. `clips_per_s` and `audio_s` count all ranks, `data_wait_s` is how long this one stood still."""

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
    """A run's JSON lines; a last one cut short by a crash is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class Sight:
    """The leader's view of a run that begins, or resumes, at step `start`."""

    def __init__(self, run: Path, steps: int, start: int, console: Console | None = None) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self.run = run
        console = console or Console(stderr=True)
        # What was written after the state that the run resumes from will be written again.
        steps_before = [row for row in read_lines(run / STEPS) if row["step"] < start]
        epochs_before = [row for row in read_lines(run / EPOCHS) if row["step"] <= start]
        self._steps, self._epochs = _continued(run / STEPS, steps_before), _continued(run / EPOCHS, epochs_before)
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=start or None)
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[shown]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.bar = self.progress.add_task("training", total=steps, completed=start, epoch=0, shown="")
        self.progress.start()

    def step(self, row: Step) -> None:
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

    def epoch(self, step: int, epoch: int, training_loss: float, judgement: Judgement) -> None:
        row = {"step": step, "epoch": epoch, "training_loss": training_loss, **asdict(judgement)}
        row["score"] = judgement.score
        self._epochs.write(json.dumps(row) + "\n")
        self._epochs.flush()
        scalars = {f"validation/{name}": value for name, value in judgement.recalls.items()}
        scalars |= {f"zero-shot/{name}": value for name, value in judgement.zero_shot.items()}
        if judgement.loss is not None:
            scalars["validation/loss"] = judgement.loss
        for name, value in scalars.items():
            self.board.add_scalar(name, value, step)
        self.board.flush()
        plot_curves(self.run)
        figures = [f"loss {training_loss:.3f}"]
        figures += [] if judgement.loss is None else [f"validation {judgement.loss:.3f}"]
        figures += [f"{name} {value:.3f}" for name, value in judgement.zero_shot.items()]
        self.progress.console.print(f"epoch {epoch}: {', '.join(figures)}", highlight=False)

    def close(self) -> None:
        self.progress.stop()
        self._steps.close()
        self._epochs.close()
        self.board.close()


@contextmanager
def watching(run: Path, steps: int, start: int, leader: bool) -> Iterator[Sight | None]:
    """The leader's sight, closed however the run ends; None on the other ranks."""
    if not leader:
        yield None
        return
    sight = Sight(run, steps, start)
    try:
        yield sight
    finally:
        sight.close()


def _continued(path: Path, rows: Iterable[dict[str, Any]]) -> Any:
    kept = path.with_name(f"{path.name}.partial")
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    kept.replace(path)
    return path.open("a", encoding="utf-8")


def plot_curves(run: Path) -> None:
    """Draw `curves.png` from the run's JSON lines: losses, temperature, learning rate, zero-shot accuracy."""
    steps, epochs = read_lines(run / STEPS), read_lines(run / EPOCHS)
    tasks = sorted({name for row in epochs for name in row["zero_shot"]})
    panels = 3 if tasks else 2
    figure = Figure(figsize=(3.7 * panels, 3.4), layout="constrained")
    loss, rates, *accuracy = figure.subplots(1, panels)
    at = [row["step"] for row in steps]
    epoch_at = [row["step"] for row in epochs]
    loss.plot(at, [row["loss"] for row in steps], color="0.75", linewidth=0.8, label="step")
    loss.plot(epoch_at, [row["training_loss"] for row in epochs], marker=".", label="training")
    if any(row["loss"] is not None for row in epochs):
        loss.plot(epoch_at, [row["loss"] for row in epochs], marker=".", label="validation")
    loss.set(title="loss", xlabel="step")
    loss.legend()
    rates.plot(at, [row["temperature"] for row in steps], label="temperature")
    rates.plot(at, [row["learning_rate"] for row in steps], label="learning rate")
    rates.set(title="temperature, learning rate", xlabel="step", yscale="log")
    rates.legend()
    for panel in accuracy:
        for name in tasks:
            panel.plot(epoch_at, [row["zero_shot"].get(name) for row in epochs], marker=".", label=name)
        panel.set(title="zero-shot accuracy", xlabel="step", ylim=(0, 1))
        panel.legend()
    partial = run / f"{CURVES}.partial"
    figure.savefig(partial, format="png", dpi=110)
    partial.replace(run / CURVES)
