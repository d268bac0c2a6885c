"""Validation after each epoch: loss and retrieval on held-out pairs, zero-shot figures on tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evaluation.embeddings import Cancelled, TooFewRead
from evaluation.tasks import NAMED, Clip, DataSet, LayoutError, labelled
from evaluation.zero_shot import evaluate
from model.checkpoint import Checkpoint
from model.clap import Clap
from model.text import Tokenizer
from training.data.corpus import Corpus
from training.data.loader import Segments, every_segment
from training.data.manifest import Captioned
from training.loop.loss import ContrastiveLoss
from training.loop.ranks import Ranks
from training.loop.stop import Stop, TrainingStopped
from training.recipe import Recipe, RecipeError

BATCH = 32
HELD_OUT = "held-out"
RECALL_AT = (1, 5, 10)

Arrays = list[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class ValidationResult:
    """`loss` is None and `recalls` empty without held-out pairs; `zero_shot` has each task's own metric."""

    loss: float | None = None
    recalls: dict[str, float] = field(default_factory=dict)
    zero_shot: dict[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """Higher is better: the mean zero-shot figure; without tasks, minus the loss."""
        if self.zero_shot:
            return float(np.mean(list(self.zero_shot.values())))
        return None if self.loss is None else -self.loss


def open_tasks(tasks: Sequence[str], path: Path | None) -> list[DataSet]:
    """Raises RecipeError for an unknown task, or one whose data set is not in `path`."""
    data_sets = []
    for name in tasks:
        if name not in NAMED:
            raise RecipeError(f"validation.tasks: unknown task {name}; there are {', '.join(NAMED)}")
        try:
            data_sets.append(NAMED[name].open(path or Path()))
        except LayoutError as error:
            raise RecipeError(f"validation.tasks: {error}") from None
    return data_sets


def held_out_task(held_out: Sequence[Captioned], training: Sequence[Captioned], template: str) -> DataSet:
    """Naming the held-out recordings among all labels or, where some have none, among their own captions.

    Raises RecipeError where it cannot be done.
    """
    everyone = (*held_out, *training)
    if not held_out or any(clip.size is not None or clip.url for clip in held_out):
        raise RecipeError("validation.naming needs held-out recordings that are files of their own")
    if all(clip.label for clip in everyone):
        names = [clip.label for clip in held_out]
        classes = sorted({clip.label for clip in everyone})
    else:
        template, names = "{label}", [clip.captions[0] for clip in held_out]
        classes = sorted(set(names))
    if len(classes) < 2:
        raise RecipeError(f"validation.naming: every recording is {classes[0]!r}, so any guess would be right")
    task = replace(labelled.TASK, name=HELD_OUT, title="Held-out recordings", template=template)
    clips = tuple(Clip(clip.audio, (name,)) for clip, name in zip(held_out, names, strict=True))
    return DataSet(task, Path(), tuple(classes), clips)


class Validator:
    """Validates a model. The ranks share the work, and each of them gets the whole result."""

    def __init__(
        self, recipe: Recipe, data: Path, corpus: Corpus, clap: Clap, tokenizer: Tokenizer, ranks: Ranks
    ) -> None:
        """Validates `clap` on the corpus' held-out recordings and on the recipe's tasks."""
        settings, clips = recipe.validation, corpus.validation
        self.tasks = open_tasks(settings.tasks, None if settings.tasks_path is None else data / settings.tasks_path)
        self.named = None
        if settings.naming:
            self.tasks.append(held_out_task(clips, corpus.training, recipe.checkpoint.prompts.template))
            self.named = len(clips)
        self.clap, self.tokenizer, self.ranks, self.batch = clap, tokenizer, ranks, recipe.batch
        self.pairs = None
        if clips:
            segments = Segments(clips, clap.config.front_end, seed=0)
            rows = range(len(segments))[ranks.rank :: ranks.world]
            self.pairs = every_segment(segments, rows, tokenizer, BATCH, recipe.loading.workers)

    def validate(self, stop: Stop) -> ValidationResult | None:
        """Validate the model, and leave it in the mode it was in. Returns None soon after a rank wants to stop."""
        # Frozen parts are in evaluation mode in training too, and must stay there.
        training = [part for part in self.clap.modules() if part.training]
        self.clap.eval()
        try:
            pairs, zero_shot = self._embed_pairs(stop), self._zero_shot(stop)
        finally:
            for part in training:
                part.training = True
        parts = self.ranks.collect(None if stop.wanted else (pairs, zero_shot))
        if any(part is None for part in parts):
            return None
        found = cast("list[tuple[Arrays, dict[str, float]]]", parts)
        loss, recalls = self._retrieval([pairs for pairs, _ in found if pairs])
        figures = {name: figure for _, figures in found for name, figure in figures.items()}
        return ValidationResult(loss, recalls, {row.task.name: figures[row.task.name] for row in self.tasks})

    def _zero_shot(self, stop: Stop) -> dict[str, float]:
        """Figures of this rank's share of the tasks, by their names."""
        model = Checkpoint(Path(), self.clap.config, self.clap, self.tokenizer, fingerprint="")
        try:
            return {
                data_set.task.name: evaluate(model, data_set, cancelled=lambda: stop.wanted).figure
                for data_set in self.tasks[self.ranks.rank :: self.ranks.world]
            }
        except Cancelled:
            return {}
        except TooFewRead as error:
            raise TrainingStopped(f"validation.tasks: {error}") from None

    @torch.inference_mode()
    def _embed_pairs(self, stop: Stop) -> Arrays:
        """Audio and text embeddings [n, d], recordings and captions [n] of this rank's share of the held-out pairs."""
        parts = []
        for batch in self.pairs or ():
            if stop.wanted:
                break
            there = batch.to(self.ranks.device)
            audio, text = self.clap.embed_audio(there.windows), self.clap.embed_text(there.tokens)
            parts.append([part.cpu().numpy() for part in (audio, text, batch.recordings, batch.captions)])
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    @torch.inference_mode()
    def _retrieval(self, parts: list[Arrays]) -> tuple[float | None, dict[str, float]]:
        """Loss and recalls over the pairs of all ranks."""
        if not parts:
            return None, {}
        audio, text, recordings, captions = (
            torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True)
        )
        # Sorted, so that the result does not depend on the number of ranks.
        order = torch.from_numpy(np.lexsort((captions.numpy(), recordings.numpy())))
        audio, text, recordings, captions = audio[order], text[order], recordings[order], captions[order]
        scale = self.clap.scale.float().cpu()
        return batched_loss(audio, text, scale, recordings, captions, self.batch), recalls(audio, text, recordings)


def batched_loss(audio: Tensor, text: Tensor, scale: Tensor, recordings: Tensor, captions: Tensor, batch: int) -> float:
    """The mean loss over batches of the training size, so that it can be compared with the training loss."""
    shuffled = torch.randperm(len(audio), generator=torch.Generator().manual_seed(0))
    rows = [part for part in shuffled.split(batch) if len(part) == min(batch, len(audio))]
    loss = ContrastiveLoss()
    return float(np.mean([float(loss(audio[r], text[r], scale, recordings[r], captions[r])) for r in rows]))


def recalls(audio: Tensor, text: Tensor, recordings: Tensor) -> dict[str, float]:
    """Recall at 1, 5 and 10 among pairs [n, d], [n, d] of `recordings` [n].

    Text to audio: a caption finds its recording among all recordings. Audio to text: a recording finds one of its
    captions among all captions.
    """
    distinct, first = np.unique(recordings.numpy(), return_index=True)
    similarity = text @ audio[torch.from_numpy(first)].T
    own = torch.from_numpy(recordings.numpy()[:, None] == distinct)
    of_text = _rank_of_best(similarity, own)
    of_audio = _rank_of_best(similarity.T, own.T)
    found = {f"text_to_audio_r{k}": float((of_text < k).float().mean()) for k in RECALL_AT}
    return found | {f"audio_to_text_r{k}": float((of_audio < k).float().mean()) for k in RECALL_AT}


def _rank_of_best(similarity: Tensor, own: Tensor) -> Tensor:
    """For each row, how many wrong columns are at least as near as the nearest right one."""
    best = similarity.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    return ((similarity >= best) & ~own).sum(dim=1)
