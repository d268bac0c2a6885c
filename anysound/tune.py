"""`anysound tune`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from anysound.console import err, fail, out
from anysound.labels import given_labels
from anysound.options import ModelOption, open_checkpoint


def tune(
    data: Annotated[
        Path,
        typer.Argument(metavar="LABELED_DIR", help="Your recordings: a folder for each label, or a labels.csv."),
    ],
    labels_file: Annotated[
        Path, typer.Option("--labels", metavar="FILE", help="Labels, one per line, or a label set in JSON.")
    ],
    destination: Annotated[Path, typer.Option("--out", metavar="FILE", help="The label set to write.")],
    precision: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Thresholds with the most recall at this precision. Default: the best F1."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-validation.")] = 5,
    model: ModelOption = None,
) -> None:
    """Choose prompts and thresholds for labels on your own recordings, and write a label set.

    Figures are from cross-validation: nothing was chosen on the recordings that they are counted on. Recordings of
    other classes than the labels count as neither.
    """
    from evaluation.embeddings import TooFewRead, encode
    from evaluation.encoder import Encoder
    from evaluation.folds import FoldError
    from evaluation.store import Store, default_folder
    from evaluation.task import LayoutError
    from evaluation.tasks.labelled import MANY
    from evaluation.tune import label_set
    from evaluation.tune import tune as tuned_labels

    given = given_labels((), labels_file, None)
    if given.examples:
        raise fail(f"{labels_file}: label {next(iter(given.examples))!r} has examples; only prompts are chosen")
    if len(set(given.names)) < len(given.names):
        raise fail(f"{labels_file}: a label is given twice")
    checkpoint = open_checkpoint(model)
    template = given.template or checkpoint.config.prompts.template
    try:
        data_set = MANY.open(data)
        if unknown := [name for name in given.names if name not in data_set.classes]:
            there = ", ".join(data_set.classes)
            raise fail(f"{data} has no recording of the label {unknown[0]!r}; there are recordings of {there}")
        encoder = Encoder(checkpoint)
        with (
            Progress(console=err, transient=True, disable=not err.is_terminal) as progress,
            Store(default_folder(), checkpoint.fingerprint, encoder.precision) as store,
        ):
            encoded = encode(encoder, data_set.clips, store, progress)
        for name in encoded.unreadable:
            err.print(f"left out: {name}", style="yellow", soft_wrap=True)
        tuned = tuned_labels(checkpoint, given.labels, encoded, template, precision, folds)
    except (LayoutError, TooFewRead, FoldError) as error:
        raise fail(str(error)) from None
    try:
        text = json.dumps(label_set(tuned, given.template), ensure_ascii=False, indent=2)
        destination.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise fail(f"{destination} cannot be written: {error.strerror or error}") from None
    table = Table(title=f"{len(encoded.clips):,} recordings, {folds} folds", title_justify="left", box=None)
    table.add_column("label", overflow="fold")
    for column in ("recordings", "F1 before", "+ threshold", "+ prompts", "precision", "recall", "threshold"):
        table.add_column(column, justify="right")
    table.add_column("prompts", overflow="fold")
    for each in tuned:
        threshold = 0.5 if each.label.threshold is None else each.label.threshold
        table.add_row(
            each.label.name,
            str(each.recordings),
            *(f"{one.f1:.3f}" for one in (each.before, each.with_threshold, each.with_prompts)),
            f"{each.judged.precision:.3f}",
            f"{each.judged.recall:.3f}",
            f"{threshold:.3g}",
            " | ".join(each.label.prompts) if each.chosen == "with_prompts" else "as given",
        )
    out.print(table)
    means = [sum(getattr(each, name).f1 for each in tuned) / len(tuned) for name in ("before", "judged")]
    out.print(
        f"mean F1 {means[0]:.3f} before, {means[1]:.3f} with what was chosen; written to {destination}", soft_wrap=True
    )
