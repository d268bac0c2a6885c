"""Training of the bundled checkpoint, from recordings to a checkpoint directory: `make train-default`.

Recordings are decoded once (`recordings`) and tagged (`heard`); the joint space is fitted to that. A compact encoder
is trained to embed mixtures as the tagger does (`stage`, `student`), then the text side is fitted (`finish`). Each step
leaves its result in the run's folder; the same command resumes a run that was stopped.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from pydantic import Field
from torch import Tensor

from model.checkpoint import save
from model.clap import Clap
from model.config import ClapConfig, Frozen
from model.memory import keep_freed_memory
from training.bundled.blocks import Blocks, floats
from training.bundled.finish import (
    AudioProjection,
    TextSide,
    assemble,
    features,
    fit_projection,
    fit_texts,
    set_scale,
)
from training.bundled.heard import Kept, first_window, listen
from training.bundled.recordings import Recordings, WaveformStore, read_manifest
from training.bundled.stage import Stage, train_stage
from training.bundled.student import Student, Teacher
from training.tagging.space import JointSpace
from training.tagging.tagger import FRONT_END, Tagger, class_labels

log = logging.getLogger(__name__)

RECIPE = Path(__file__).parents[1] / "recipes" / "default.yaml"
EXAMPLES = 128
"""Recordings that the spread of the teacher's channels is taken from."""


class Recipe(Frozen):
    """Everything that determines the checkpoint, except the recordings.

    `manifests` names the folders of recordings; collections in `held_out` are never trained on. The joint space and the
    text side are fitted to the captioned recordings of the manifests in `space`. The student starts from random
    weights. `projection` is the training of its projection on the teacher's features, before the stages; `refit` that
    on its own features, after them.
    """

    manifests: tuple[str, ...] = Field(min_length=1)
    held_out: tuple[str, ...] = ()
    space: tuple[str, ...] = Field(min_length=1)
    shrinkage: float = Field(0.3, gt=0)
    seed: int = 0
    stages: tuple[Stage, ...]
    projection: AudioProjection = AudioProjection()
    refit: AudioProjection = AudioProjection()
    text: TextSide = TextSide()
    checkpoint: ClapConfig


def read_recipe(path: Path = RECIPE) -> Recipe:
    """Raises pydantic's ValidationError naming an unknown or missing member."""
    return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def decode(names: Sequence[str], folders: dict[str, Path], tagger: Tagger, run: Path) -> dict[str, Path]:
    """A tagged store for each manifest; `folders` are the folders of the manifests."""
    stores = {name: run / "recordings" / name for name in names}
    for name, store in stores.items():
        if not WaveformStore.exists(store):
            WaveformStore.build(list(read_manifest(folders[name] / "manifest.jsonl")), store, FRONT_END.sample_rate)
        listen(store, tagger)
    return stores


def make_teacher(recipe: Recipe, stores: dict[str, Path], tagger: Tagger) -> Teacher:
    named = Kept.read([stores[name] for name in recipe.space], recipe.held_out)
    captioned = [number for number, row in enumerate(named.rows) if row["caption"]]
    captions = [named.rows[number]["caption"] for number in captioned]
    space = JointSpace.fit(tagger.head(), named.features[captioned], captions, recipe.shrinkage)
    recordings = Recordings(list(stores.values()), recipe.held_out)
    examples = np.linspace(0, len(recordings) - 1, min(EXAMPLES, len(recordings))).round().astype(int)
    windows = torch.stack([first_window(recordings.samples(int(i)), FRONT_END.window_samples) for i in examples])
    return Teacher(tagger, space, floats(windows))


class Judge:
    """Mean cosine of the student's and the teacher's embeddings, over the first windows of the held-out recordings."""

    def __init__(self, stores: Sequence[Path], held_out: Sequence[str], teacher: Teacher) -> None:
        recordings = Recordings(stores, held_out, held_out_only=True)
        self.rows = recordings.rows
        length = FRONT_END.window_samples
        self.windows = torch.stack([first_window(recordings.samples(i), length) for i in range(len(recordings))])
        self.wanted = teacher.space.embed(Kept.read(stores, held_out, held_out_only=True).features)

    @torch.inference_mode()
    def embeddings(self, embed: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.cat([embed(floats(part)) for part in self.windows.split(16)])

    def cosine(self, embeddings: Tensor) -> float:
        return float((embeddings * self.wanted).sum(dim=1).mean())

    def __call__(self, student: Student) -> float:
        return self.cosine(self.embeddings(lambda windows: student(windows).embeddings))


def train(recipe: Recipe, folders: dict[str, Path], tagger_weights: Path, run: Path, producers: int = 1) -> Path | None:
    """Make the checkpoint in `run/checkpoint`; its path is returned, None where a signal ended the run before."""
    tagger = Tagger(tagger_weights, class_labels(tagger_weights))
    stores = decode(recipe.manifests, folders, tagger, run)
    teacher = make_teacher(recipe, stores, tagger)
    places = list(stores.values())
    judge = Judge(places, recipe.held_out, teacher)
    torch.manual_seed(recipe.seed)
    student = Student(Clap(recipe.checkpoint).audio_encoder)
    kept = Kept.read(places, recipe.held_out)
    wanted = teacher.space.embed(kept.features)
    fit_projection(student.encoder.projection, kept.features, wanted, recipe.projection)
    for number, stage in enumerate(recipe.stages, 1):
        blocks = Blocks(places, recipe.held_out, stage.window_s, stage.block, stage.seed)
        average = train_stage(stage, blocks, student, teacher, run / f"stage-{number}", judge, producers)
        if average is None:
            return None
        student.load_state_dict(average.state_dict())
    student.eval()
    own = features(student.base, Recordings(places, recipe.held_out))
    fit_projection(student.encoder.projection, own, wanted, recipe.refit)
    clap, tokenizer = assemble(recipe.checkpoint, student.encoder, recipe.text.seed)
    named = Kept.read([stores[name] for name in recipe.space], recipe.held_out)
    fit_texts(clap, tokenizer, recipe.text, teacher.space, tagger.classes, named)
    embeddings = judge.embeddings(clap.embed_audio)
    naming = set_scale(clap, tokenizer, judge.rows, embeddings)
    log.info("held-out collections: cosine %.3f, naming %.3f", judge.cosine(embeddings), naming)
    save(clap, run / "checkpoint", dtype=torch.float16)
    return run / "checkpoint"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the bundled checkpoint.")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--manifest", action="append", required=True, metavar="NAME=FOLDER", help="a manifest's folder")
    parser.add_argument("--tagger", type=Path, required=True, help="efficientat_mn04_as.pt")
    parser.add_argument("--run", type=Path, default=Path("runs/default"))
    parser.add_argument("--producers", type=int, default=1, help="processes that make mixtures")
    parser.add_argument("--threads", type=int, default=2, help="compute threads of the student")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folders = {name: Path(folder) for name, folder in (item.split("=", 1) for item in arguments.manifest)}
    recipe = read_recipe(arguments.recipe)
    checkpoint = train(recipe, folders, arguments.tagger, arguments.run, arguments.producers)
    print(checkpoint or "stopped; the same command goes on")  # noqa: T201


if __name__ == "__main__":
    main()
