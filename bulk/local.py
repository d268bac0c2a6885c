"""Scoring on this machine: an engine, its labels, and a pipeline between them. Ray's actors hold one each."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from bulk.item import Item
from bulk.labels import Labels
from bulk.pipeline import Pipeline
from bulk.run import Stop
from bulk.scoring import ScoredItem, Scorer
from bulk.settings import ScoreSettings
from bulk.setup import ReaderSetup
from model.checkpoint import CheckpointError
from model.classify import LabelEmbeddings
from model.engine import Dtype, Engine


@dataclass(frozen=True)
class Plan:
    """What is the same for every process of a run."""

    settings: ScoreSettings
    labels: Labels
    setup: ReaderSetup
    readers: int
    dtype: Dtype | Literal["auto"] = "auto"


class Local:
    """Scores items on this machine. Use as a context manager."""

    def __init__(self, engine: Engine, plan: Plan, embedded: LabelEmbeddings) -> None:
        front_end = engine.info.config.front_end
        self._scorer = Scorer(embedded, engine.info.logit_scale, plan.settings)
        listener = self._scorer.listener(plan.labels.labels, front_end.window_s, front_end.sample_rate)
        self._pipeline = Pipeline(engine, plan.setup, plan.readers, listener)
        gc.freeze()  # else every full collection visits a million objects of the libraries again

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipeline.__exit__(kind, error, trace)

    def score(self, items: Iterable[Item], stop: Stop = lambda: False) -> Iterator[ScoredItem]:
        """Each item's scores, in order. Raises DeviceFault, ReadersFailed."""
        return map(self._scorer, self._pipeline.run(items, stop))


def local(folder: Path, device: str, plan: Plan) -> Local:
    """Load a checkpoint and embed the labels. Raises CheckpointError, also if it is not the plan's, and LabelsError."""
    engine = Engine(folder, device, plan.dtype)
    if engine.info.fingerprint != plan.settings.fingerprint:
        raise CheckpointError(f"{folder} on this node is not the checkpoint that the run began with")
    return Local(engine, plan, plan.labels.embed(engine))
