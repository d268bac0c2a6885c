"""What a trained checkpoint says of itself: sources and licences in its config, measured figures in its model card.

`python -m training.bundled.card CHECKPOINT MANIFEST... --eval DATA` calibrates the checkpoint for examples on the
manifests, evaluates it and writes its README.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from evaluation.example_scale import example_scale
from evaluation.tasks import TASKS, LayoutError
from evaluation.zero_shot import Result, evaluate
from model.checkpoint import CONFIG, Checkpoint, calibrate, load, read_config
from training.bundled.default import RECIPE, read_recipe
from training.bundled.recordings import read_manifest

PAGE = Path(__file__).with_name("card.md")


def sources(manifests: Sequence[Path], held_out: Sequence[str]) -> tuple[str, ...]:
    """Each collection of recordings with its licences and how many recordings it gave, in the manifests' order."""
    counts: Counter[str] = Counter()
    licences: dict[str, dict[str, None]] = {}
    for manifest in manifests:
        for recording in read_manifest(manifest):
            if recording.collection in held_out:
                continue
            counts[recording.collection] += 1
            licences.setdefault(recording.collection, {})[recording.licence] = None
    return tuple(f"{source}: {'; '.join(licences[source])} ({counts[source]} recordings)" for source in counts)


def record(folder: Path, manifests: Sequence[Path]) -> None:
    """Put the sources and what the recipe did into the checkpoint's config."""
    recipe = read_recipe()
    training: dict[str, object] = {
        "recipe": RECIPE.name,
        "clips": sum(stage.clips for stage in recipe.stages),
        "stages": len(recipe.stages),
    }
    found = sources(manifests, recipe.held_out)
    config = read_config(folder).model_copy(update={"sources": found, "training": training})
    (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def captions(manifests: Sequence[Path]) -> dict[Path, str]:
    """The captions of the recordings that have one, by path."""
    return {each.path: each.caption for manifest in manifests for each in read_manifest(manifest) if each.caption}


def figures(checkpoint: Checkpoint, data: Path) -> list[Result]:
    """Zero-shot results of every task that lies under `data`."""
    results = []
    for task in TASKS.values():
        try:
            data_set = task.open(data)
        except LayoutError:
            continue
        with Progress(transient=True) as progress:
            results.append(evaluate(checkpoint, data_set, progress))
    return results


def results_table(results: Sequence[Result]) -> str:
    rows = ["| task | classes | clips | metric | figure | chance | weakest class |", "|---|---|---|---|---|---|---|"]
    for result in results:
        weakest, value = min(result.per_class.items(), key=lambda item: item[1])
        chance = "" if result.chance is None else f"{result.chance:.3f}"
        part = f" ({result.partial})" if result.partial else ""
        rows.append(
            f"| {result.title}{part} | {len(result.classes)} | {result.clips} | {result.metric} |"
            f" **{result.figure:.3f}** | {chance} | {weakest} {value:.2f} |"
        )
    return "\n".join(rows)


def recalls_table(result: Result) -> str:
    rows = ["| class | recall | taken for |", "|---|---|---|"]
    if result.confusion is None:
        return ""
    for index, (name, recall) in enumerate(sorted(result.per_class.items(), key=lambda item: -item[1])):
        row = result.confusion[result.classes.index(name)].copy()
        row[result.classes.index(name)] = 0
        taken = f"{result.classes[int(row.argmax())]} ({int(row.max())})" if row.any() else ""
        rows.append(f"| {name} | {recall:.2f} | {taken} |")
        if index == 19:
            break
    return "\n".join(rows)


def page(checkpoint: Checkpoint, results: Sequence[Result]) -> str:
    """The model card."""
    parameters = sum(value.numel() for value in checkpoint.model.audio_encoder.parameters())
    recordings = "\n".join(f"- {source}" for source in checkpoint.config.sources)
    values = {
        "name": checkpoint.config.name,
        "fingerprint": checkpoint.fingerprint,
        "parameters": f"{parameters / 1e6:.2f} M",
        "scale": f"{checkpoint.logit_scale:.1f}",
        "results": results_table(results),
        "recalls": recalls_table(results[0]) if results else "",
        "sources": recordings,
    }
    text = PAGE.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a checkpoint's sources and its model card.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--eval", type=Path, required=True, help="folder of the evaluation data sets")
    arguments = parser.parse_args()
    record(arguments.checkpoint, arguments.manifests)
    calibrate(arguments.checkpoint, example_scale(load(arguments.checkpoint), captions(arguments.manifests)))
    checkpoint = load(arguments.checkpoint)
    text = page(checkpoint, figures(checkpoint, arguments.eval))
    (arguments.checkpoint / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
