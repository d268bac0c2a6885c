"""The bundled checkpoint, from recordings to a folder that serves: `make train-default`.

Recordings are decoded once (`recordings`), mixed and tagged (`pool`), the tagger's features are aligned with the text
encoder (`align`), and a compact encoder learns from scratch to give the same embeddings (`student`). Each step leaves
its result in the run's folder; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
import yaml

from model.checkpoint import save
from model.clap import AudioEncoder, Clap, LinearProjection
from model.config import ClapConfig, Frozen
from model.text import Tokenizer, package_folder
from training.bundled.align import Alignment, AlignmentSettings, align, caption_weights
from training.bundled.pool import Pool, PoolSpec, make_pool
from training.bundled.recordings import WaveformStore, read_manifest
from training.bundled.student import Student, StudentSettings, Targets, train_student
from training.tagging.phrases import PhraseBank, read_phrases
from training.tagging.tagger import FRONT_END, Tagger, class_labels

log = logging.getLogger(__name__)

RECIPE = Path(__file__).parents[1] / "recipes" / "default.yaml"


class PoolRecipe(Frozen):
    """Mixtures of the recordings of some manifests, `chunks` x 512 of them."""

    manifests: tuple[str, ...]
    chunks: int
    seed: int


class Recipe(Frozen):
    """Everything that decides the checkpoint but the recordings themselves."""

    pools: tuple[PoolRecipe, ...]
    alignment: AlignmentSettings
    student: StudentSettings
    checkpoint: ClapConfig


def read_recipe(path: Path = RECIPE) -> Recipe:
    """Raises pydantic's ValidationError naming an unknown or missing member."""
    return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def make_pools(recipe: Recipe, folders: dict[str, Path], tagger_weights: Path, run: Path, processes: int) -> Pool:
    """Decode, mix and tag; `folders` says where each manifest named in the recipe lies."""
    made = []
    for number, part in enumerate(recipe.pools):
        store = run / f"recordings-{number}"
        if not (store / "labels.json").exists():
            recordings = [row for name in part.manifests for row in read_manifest(folders[name] / "manifest.jsonl")]
            WaveformStore.build(recordings, store, FRONT_END.sample_rate)
        spec = PoolSpec(store, tagger_weights, class_labels(tagger_weights), run / f"pool-{number}", part.seed)
        make_pool(spec, part.chunks, processes)
        made.append(spec.folder)
    return Pool(made)


def assemble(config: ClapConfig, encoder: AudioEncoder, alignment: Alignment) -> Clap:
    """The trained parts as one CLAP."""
    clap = Clap(config)
    clap.audio_encoder.load_state_dict(encoder.state_dict())
    projection = clap.caption_encoder.projection
    if not isinstance(projection, LinearProjection):
        raise TypeError("the default recipe trains a linear text projection")
    projection.linear.load_state_dict(alignment.text.state_dict())
    with torch.no_grad():
        clap.logit_scale.copy_(alignment.logit_scale)
    return clap


def train(recipe: Recipe, folders: dict[str, Path], tagger_weights: Path, run: Path, processes: int = 2) -> Path:
    """Make the checkpoint in `run/checkpoint`; its path is returned."""
    pool = make_pools(recipe, folders, tagger_weights, run, processes)
    log.info("%d mixtures", len(pool))
    text = recipe.checkpoint.text_encoder
    tagger = Tagger(tagger_weights, class_labels(tagger_weights))
    clap = Clap(recipe.checkpoint)
    tokenizer = Tokenizer(package_folder(text), text.max_tokens)
    classes = read_phrases(tagger.classes)
    bank = PhraseBank(classes, clap.caption_encoder.base, tokenizer, text.pooling)
    generic = torch.tensor([row.generic for row in classes])
    settings = recipe.alignment
    weights = caption_weights(pool.logits, generic, settings.prior_power, settings.generic_weight)
    alignment = align(pool.features, weights, bank, settings)
    student = Student(clap.audio_encoder, pool.features.shape[1])
    targets = Targets(pool, alignment, weights)
    train_student(student, pool, targets, alignment, bank, recipe.student, run / "student")
    checkpoint = run / "checkpoint"
    save(assemble(recipe.checkpoint, student.encoder, alignment), checkpoint, dtype=torch.float16)
    return checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the bundled checkpoint.")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--train", type=Path, required=True, help="folder of the training manifest")
    parser.add_argument("--debian", type=Path, required=True, help="folder that training.bundled.debian wrote")
    parser.add_argument("--tagger", type=Path, required=True, help="efficientat_mn04_as.pt")
    parser.add_argument("--run", type=Path, default=Path("runs/default"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folders = {"train": arguments.train, "debian": arguments.debian}
    print(train(read_recipe(arguments.recipe), folders, arguments.tagger, arguments.run))  # noqa: T201


if __name__ == "__main__":
    main()
