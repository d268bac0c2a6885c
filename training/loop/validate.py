"""What an epoch is worth: loss and retrieval on held-out pairs, zero-shot figures on tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from evaluation.tasks import NAMED, DataSet, LayoutError
from evaluation.zero_shot import evaluate
from model.checkpoint import Checkpoint
from model.clap import Clap
from model.text import Tokenizer
from training.data.loader import Batch, Collate, Segments, one_thread
from training.data.manifest import Captioned
from training.data.sampler import Draw
from training.loop.loss import ContrastiveLoss
from training.loop.ranks import Ranks
from training.recipe import RecipeError

BATCH = 32
RECALL_AT = (1, 5, 10)


@dataclass(frozen=True)
class Judgement:
    """`loss` and `recalls` are empty without held-out pairs, `zero_shot` (each task's own metric) without tasks."""

    loss: float | None = None
    recalls: dict[str, float] = field(default_factory=dict)
    zero_shot: dict[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """Higher is better: the mean zero-shot figure; minus the loss where there are no tasks."""
        if self.zero_shot:
            return float(np.mean(list(self.zero_shot.values())))
        return None if self.loss is None else -self.loss


def open_tasks(tasks: Sequence[str], path: Path | None) -> list[DataSet]:
    """Raises RecipeError for a task that is unknown, or whose data set is not there."""
    data_sets = []
    for name in tasks:
        if name not in NAMED:
            raise RecipeError(f"validation.tasks: unknown task {name}; there are {', '.join(NAMED)}")
        try:
            data_sets.append(NAMED[name].open(path or Path()))
        except LayoutError as error:
            raise RecipeError(f"validation.tasks: {error}") from None
    return data_sets


class Validator:
    """Judges a model; the work is shared by the ranks, and each of them has the result."""

    def __init__(
        self,
        clips: Sequence[Captioned],
        tasks: Sequence[str],
        tasks_path: Path | None,
        tokenizer: Tokenizer,
        clap: Clap,
        ranks: Ranks,
        batch: int,
        workers: int = 0,
    ) -> None:
        self.tasks = open_tasks(tasks, tasks_path)
        self.tokenizer, self.clap, self.ranks, self.batch = tokenizer, clap, ranks, batch
        self.pairs: DataLoader[Batch] | None = None
        if clips:
            segments = Segments(clips, clap.config.front_end, seed=0)
            mine = [Draw(0, pair) for pair in range(len(segments))][ranks.rank :: ranks.world]
            self.pairs = DataLoader(
                segments,
                batch_sampler=[mine[first : first + BATCH] for first in range(0, len(mine), BATCH)],
                collate_fn=Collate(tokenizer, clips),
                num_workers=workers,
                multiprocessing_context="forkserver" if workers else None,
                worker_init_fn=one_thread,
                persistent_workers=workers > 0,
            )

    def judge(self) -> Judgement:
        """The model is left in the mode it was in."""
        training = self.clap.training
        self.clap.eval()
        try:
            loss, recalls = self._retrieval()
            return Judgement(loss, recalls, self._zero_shot())
        finally:
            self.clap.train(training)

    def _zero_shot(self) -> dict[str, float]:
        model = Checkpoint(Path(), self.clap.config, self.clap, self.tokenizer, fingerprint="")
        mine = {
            data_set.task.name: evaluate(model, data_set).figure
            for number, data_set in enumerate(self.tasks)
            if number % self.ranks.world == self.ranks.rank
        }
        found: dict[str, float] = {}
        for part in self.ranks.collect(mine):
            found |= cast("dict[str, float]", part)
        return {data_set.task.name: found[data_set.task.name] for data_set in self.tasks}

    @torch.inference_mode()
    def _retrieval(self) -> tuple[float | None, dict[str, float]]:
        if self.pairs is None:
            return None, {}
        parts = []
        for batch in self.pairs:
            there = batch.to(self.ranks.device)
            audio, text = self.clap.embed_audio(there.windows), self.clap.embed_text(there.tokens)
            parts.append([part.cpu().numpy() for part in (audio, text, batch.recordings, batch.captions)])
        mine = [np.concatenate(column) for column in zip(*parts, strict=True)]
        every = [cast("list[npt.NDArray[np.float32]]", part) for part in self.ranks.collect(mine) if part]
        audio, text, recordings, captions = (
            torch.from_numpy(np.concatenate(column)) for column in zip(*every, strict=True)
        )
        # In the order of ranks a recording's captions lie apart; whatever their number, the order is now the same.
        order = torch.from_numpy(np.lexsort((captions.numpy(), recordings.numpy())))
        audio, text, recordings, captions = audio[order], text[order], recordings[order], captions[order]
        scale = self.clap.scale.float().cpu()
        return batched_loss(audio, text, scale, recordings, captions, self.batch), recalls(audio, text, recordings)


def batched_loss(audio: Tensor, text: Tensor, scale: Tensor, recordings: Tensor, captions: Tensor, batch: int) -> float:
    """The training loss over batches of the training size, so that the two can be compared."""
    shuffled = torch.randperm(len(audio), generator=torch.Generator().manual_seed(0))
    rows = [part for part in shuffled.split(batch) if len(part) == min(batch, len(audio))]
    loss = ContrastiveLoss()
    return float(np.mean([float(loss(audio[r], text[r], scale, recordings[r], captions[r])) for r in rows]))


def recalls(audio: Tensor, text: Tensor, recordings: Tensor) -> dict[str, float]:
    """Retrieval among pairs [n, d], [n, d] of `recordings` [n]: the share found among the first 1, 5 and 10.

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
    """How many wrong columns are as near as the nearest right one, for each row."""
    best = similarity.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    return ((similarity >= best) & ~own).sum(dim=1)
