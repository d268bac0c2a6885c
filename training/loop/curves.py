"""`curves.png`: a run's losses, temperature, learning rate and zero-shot figures over its steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

Rows = Sequence[dict[str, Any]]


def plot_curves(steps: Rows, epochs: Rows, path: Path) -> None:
    """Draw the rows of `steps.jsonl` and `epochs.jsonl`; `path` is replaced once the picture is complete."""
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
    partial = path.with_name(f"{path.name}.partial")
    figure.savefig(partial, format="png", dpi=110)
    partial.replace(path)
