"""Supervised figures with the whole audio encoder trained: Adam 1e-4, 30 epochs (paper, section 4.4).

Each epoch uses one random window of each clip; a test clip's logits are averaged over its windows.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import Progress
from torch import nn

from evaluation.embeddings import Encoded, loaded
from evaluation.encoder import Encoder
from evaluation.folds import make_folds, uncontaminated
from evaluation.metrics import Array, Indices, Truth
from evaluation.probe import Classifier, Supervised, loss, score
from evaluation.task import Clip, DataSet, Metric
from evaluation.zero_shot import truth_matrix
from model.config import FrontEndConfig
from model.windows import Samples


@dataclass(frozen=True)
class FineTuning:
    """`hidden`: sizes of the classifier's hidden layers; without any it is linear."""

    hidden: tuple[int, ...] = ()
    rate: float = 1e-4
    epochs: int = 30
    batch: int = 32


class Network(nn.Module):
    """A copy of the audio encoder and a classifier: windows [batch, samples] -> logits [batch, classes]."""

    def __init__(self, encoder: Encoder, classes: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.base = copy.deepcopy(encoder.checkpoint.model.audio_encoder.base)
        self.base.requires_grad_(True)
        self.classifier = Classifier(hidden=hidden).build(self.base.embedding_dim, classes)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.base(windows))
        return logits


def batches(
    clips: Sequence[Clip], rows: Indices, front_end: FrontEndConfig, size: int, rng: np.random.Generator
) -> Iterator[tuple[Samples, Indices]]:
    """One random window of each clip, in random order: windows [size, samples] and the clips' rows."""
    order = rng.permutation(rows)
    windows: list[Samples] = []
    heard: list[int] = []
    for row, clip in zip(order, loaded([clips[row] for row in order], front_end, set(), 2 * size), strict=True):
        if clip.windows is not None:
            windows.append(clip.windows[rng.integers(len(clip.windows))])
            heard.append(row)
        if len(windows) == size:
            yield np.stack(windows), np.array(heard)
            windows, heard = [], []
    if len(windows) > 1:  # batch normalisation needs two clips
        yield np.stack(windows), np.array(heard)


def train(
    encoder: Encoder, clips: Sequence[Clip], truth: Truth, rows: Indices, metric: Metric, recipe: FineTuning, seed: int
) -> Network:
    """Fine-tune a copy of the encoder on the clips of `rows`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = Network(encoder, truth.shape[1], recipe.hidden).to(encoder.device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.rate)
    front_end = encoder.checkpoint.config.front_end
    for _ in range(recipe.epochs):
        for windows, heard in batches(clips, rows, front_end, recipe.batch, rng):
            targets = torch.from_numpy(truth[heard].astype(np.float32)).to(encoder.device)
            optimiser.zero_grad()
            with torch.autocast(encoder.device.type, torch.bfloat16, enabled=encoder.precision == "bf16"):
                logits = network(torch.from_numpy(windows).to(encoder.device))
            loss(metric, logits.float(), targets).backward()
            optimiser.step()
    return network.eval()


@torch.inference_mode()
def predict(network: Network, encoder: Encoder, clips: Sequence[Clip]) -> Array:
    """Logits of each clip [clips, classes], averaged over its windows."""
    front_end = encoder.checkpoint.config.front_end
    logits = []
    for clip in loaded(clips, front_end, set(), 32):
        if clip.windows is None:
            raise OSError(f"a clip that was readable before is not any more: {clip.error}")
        parts = [
            network(torch.from_numpy(clip.windows[start : start + 32]).to(encoder.device)).float().cpu().numpy()
            for start in range(0, len(clip.windows), 32)
        ]
        logits.append(np.concatenate(parts).mean(axis=0))
    return np.stack(logits)


def fine_tune(
    data_set: DataSet,
    encoded: Encoded,
    encoder: Encoder,
    seeds: Sequence[int],
    recipe: FineTuning | None = None,
    progress: Progress | None = None,
) -> Supervised:
    """Fine-tune on each fold's training clips and test on its test clips. Raises FoldError where a fold is empty."""
    recipe = recipe or FineTuning()
    folds = make_folds(encoded.clips, data_set.task.folds)
    bar = progress.add_task("fine-tuning", total=len(folds) * len(seeds)) if progress else None
    truth = truth_matrix(encoded.clips, data_set.classes)
    metric = data_set.task.metric
    figures, left_out = [], 0
    for seed in seeds:
        of_seed = []
        for fold in folds:
            rows = uncontaminated(fold.training, fold.test, encoded.digests)
            left_out += (len(fold.training) - len(rows)) * (seed == seeds[0])
            network = train(encoder, encoded.clips, truth, rows, metric, recipe, seed)
            logits = predict(network, encoder, [encoded.clips[row] for row in fold.test])
            of_seed.append(score(metric, truth[fold.test], logits))
            if progress and bar is not None:
                progress.advance(bar)
        figures.append(tuple(of_seed))
    names = tuple(fold.name for fold in folds)
    return Supervised("fine-tune", "fine-tuned", metric, names, tuple(figures), left_out)
