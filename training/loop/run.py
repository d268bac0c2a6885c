"""The training run: a recipe and a data folder in, checkpoint directories out."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from model.checkpoint import load
from model.clap import MAX_LOGIT_SCALE
from model.config import Frozen
from training.data.corpus import Corpus, count_pairs, draws_of, read_corpus
from training.data.loader import Batch, Segments, batches, shards_of, weights_of
from training.data.sampler import Batches
from training.loop.accumulate import accumulate, dropout_seed
from training.loop.average import Average
from training.loop.broken import BrokenRecordings
from training.loop.loss import ContrastiveLoss, SigmoidLoss
from training.loop.metrics import MetricsLog, StepMetrics, metrics_log
from training.loop.mix import averaged, choose
from training.loop.not_finite import describe_not_finite
from training.loop.optimiser import make_optimiser, set_learning_rate, trained
from training.loop.publish import Checkpoints
from training.loop.ranks import Ranks, on_leader
from training.loop.resume import RunStates
from training.loop.schedule import Schedule
from training.loop.sharding import ModelState, OptimiserState, Whole, clip, is_sharded, place
from training.loop.state import Stateful, States
from training.loop.stop import Stop, TrainingStopped, stopping_on_signals
from training.loop.towers import Towers, distribute, statistics
from training.loop.validate import HELD_OUT, ValidationResult, Validator
from training.recipe import Recipe
from training.start.head import start_from_head
from training.start.start import build, check_paths

log = logging.getLogger(__name__)

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `finished`, or stopped by a signal after `step` steps with its state saved.

    `mixed`: the share of the trained weights in the final average, with the zero-shot figures `before` (of the start)
    and `after`; None and empty without a recipe's `mix`. `held_out`: the number of held-out recordings.
    """

    step: int
    finished: bool
    best: float | None
    mixed: float | None = None
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    held_out: int = 0


def train(recipe: Recipe, data: Path, run: Path, ranks: Ranks | None = None, stop_after: int | None = None) -> Outcome:
    """Train `recipe` on the folder `data` into the folder `run`, or resume where that run was stopped.

    All ranks return the same outcome. Raises RecipeError and ManifestError before the first step, StateError where a
    state cannot be written or read, TrainingStopped for a loss that is not finite and for too many broken files.
    `stop_after` stops after that step, as a signal would.
    """
    ranks = ranks or Ranks()
    trainer = Trainer(recipe, data, run, ranks)
    progress = trainer.progress
    opened = metrics_log(run, trainer.steps, progress.step, progress.epochs_validated, ranks.leader, recipe)
    with stopping_on_signals() as stop, opened as metrics:
        return trainer.train(stop, metrics, stop_after)


def read_together(recipe: Recipe, data: Path, run: Path, ranks: Ranks) -> Corpus:
    """The corpus, on every rank. The leader makes the index of remote shards; the others find it in the run's folder.

    Raises ManifestError.
    """
    index = run / "index"
    if ranks.world > 1 and recipe.reads_urls:
        on_leader(ranks, read_corpus, recipe, data, index)
    return read_corpus(recipe, data, index)


class Trainer:
    """A run, set up or resumed: model, data, optimiser, and how far it is."""

    def __init__(self, recipe: Recipe, data: Path, run: Path, ranks: Ranks) -> None:
        recipe.check(data, ranks.world)
        check_paths(recipe, data)
        self.recipe, self.data, self.run, self.ranks = recipe, data, run, ranks
        self.corpus = read_together(recipe, data, run, ranks)
        self.clap, self.tokenizer = build(recipe, data)
        segments = Segments(
            self.corpus.training, recipe.checkpoint.front_end, recipe.seed, drawn=recipe.captions == "drawn"
        )
        states = States(run / "states", recipe.saving.keep)
        if recipe.start.head is not None and recipe.start.audio is not None and not states.steps():
            head, weights = recipe.start.head, data / recipe.start.audio
            on_leader(ranks, start_from_head, self.clap, self.tokenizer, weights, segments, head, recipe.seed)
            for value in self.clap.state_dict().values():
                ranks.align([value])
        sigmoid = recipe.loss == "sigmoid"
        self.towers = Towers(self.clap, recipe.freeze, biased=sigmoid).train()
        self.average = None if recipe.ema is None else Average(self.clap, recipe.ema)
        followed = self.clap if self.average is None else self.average.clap
        self.whole = Whole(followed, ranks.device) if is_sharded(recipe, ranks) else None
        self.published = followed if self.whole is None else self.whole.clap
        self.validator = Validator(recipe, data, self.corpus, self.published, self.tokenizer, ranks)
        self.model = distribute(self.towers, recipe, ranks)
        if self.average is not None:
            place(self.average.clap, recipe, ranks)
        self.loss = SigmoidLoss(ranks) if sigmoid else ContrastiveLoss(ranks, recipe.local_loss)
        self.optimiser = make_optimiser(self.towers, recipe.optimiser)
        self.scaler = torch.GradScaler(ranks.device.type, enabled=recipe.precision == "float16")
        drawn = draws_of(self.corpus.training, segments.drawn)
        self.steps_per_epoch = recipe.epoch_steps or drawn // recipe.batch
        self.steps = recipe.epochs * self.steps_per_epoch
        self.schedule = Schedule(recipe.schedule, self.steps)
        self.checkpoints = Checkpoints(run, recipe.saving.keep)
        parts: dict[str, Stateful] = {
            "model": ModelState(self.clap),
            "optimiser": OptimiserState(self.optimiser),
            "schedule": self.schedule,
            "scaler": self.scaler,
        }
        if self.towers.bias is not None:
            parts["bias"] = self.towers.bias
        if self.average is not None:
            parts["average"] = self.average
        self.states = RunStates(states, parts, recipe, self.corpus, ranks)
        self.progress = self.states.resume()
        self.broken = BrokenRecordings(len(self.corpus.training), recipe.loading.max_broken, self.progress.broken)
        shards = shards_of(segments)
        sampler = Batches(
            len(segments),
            recipe.batch,
            recipe.epochs,
            recipe.seed,
            ranks.rank,
            ranks.world,
            self.progress.step,
            shards,
            self.steps,
            weights_of(segments),
        )
        loading, pinned = recipe.loading, ranks.device.type == "cuda"
        self.batches = batches(segments, sampler, self.tokenizer, loading.workers, loading.prefetch, pinned)

    @property
    def finished(self) -> bool:
        """Whether every epoch is validated, or `patience` is used up, and the final average is made."""
        return self.trained and (not self.recipe.mix or self.progress.mixed is not None)

    @property
    def trained(self) -> bool:
        patience = self.recipe.patience
        early = patience is not None and self.progress.since_best >= patience
        return early or self.progress.epochs_validated == self.recipe.epochs

    @property
    def epoch_to_validate(self) -> bool:
        """Whether the last epoch that was trained has not been validated."""
        return self.progress.step // self.steps_per_epoch > self.progress.epochs_validated

    def train(self, stop: Stop, metrics: MetricsLog | None, stop_after: int | None = None) -> Outcome:
        """Train and validate in turns until the last epoch is done or `stop` is wanted on a rank."""
        source = iter(self.batches)
        while not self.finished:
            if self.trained or self.epoch_to_validate or self.validation_is_due:
                with self.whole_model():
                    stopped = not self.validate(stop, metrics)
            else:
                stopped = self.train_step(source, stop, metrics, stop_after)
            if stopped:
                step, steps = self.progress.step, self.steps
                log.info("stopped after step %d of %d; the same command resumes from there", step, steps)
                break
        progress = self.progress
        return Outcome(
            progress.step,
            self.finished,
            progress.best,
            progress.mixed,
            progress.before,
            progress.after,
            len(self.corpus.validation),
        )

    def train_step(
        self, source: Iterator[Batch], stop: Stop, metrics: MetricsLog | None, stop_after: int | None
    ) -> bool:
        """One step of the optimiser on the next batch, and the state saved if it is due.

        Returns whether a rank wants to stop. Raises TrainingStopped.
        """
        step = self.progress.step
        epoch = step // self.steps_per_epoch
        began = time.perf_counter()
        batch = next(source).to(self.ranks.device)
        waited = time.perf_counter() - began
        rate = self.recipe.optimiser.learning_rate * self.schedule.share(step)
        set_learning_rate(self.optimiser, rate)

        value, audio, text = self.forward_backward(batch)
        self.scaler.unscale_(self.optimiser)
        limit = self.recipe.clip_gradient or math.inf
        norm = clip(trained(self.towers), limit, self.ranks)
        loss = float(value)
        # A gradient scaler skips steps with infinite gradients by itself.
        not_finite = not math.isfinite(loss) or (not math.isfinite(norm) and not self.scaler.is_enabled())
        new = self.broken.new(batch.broken)
        wants_stop = stop.wanted or step + 1 == stop_after
        total, any_not_finite, any_stop, any_new = self.ranks.sums([loss, not_finite, wants_stop, len(new)])
        if any_not_finite:
            place = f"step {step} of epoch {epoch}"
            raise TrainingStopped(describe_not_finite(self.ranks, place, loss, norm, batch, audio, text))
        if any_new:
            self.broken.add(new, self.ranks)
            self.broken.check(drawn=(step + 1) * self.recipe.batch)

        self.update()
        mean = total / self.ranks.world
        self.progress.step += 1
        self.progress.epoch_loss += mean
        if metrics is not None:
            window_s = self.recipe.checkpoint.front_end.window_s
            row = StepMetrics(
                step=step,
                epoch=epoch,
                loss=mean,
                temperature=float((-self.clap.logit_scale.detach()).exp()),
                learning_rate=rate,
                gradient_norm=norm,
                recall_at_1=recall_at_1(audio, text),
                clips_per_s=self.recipe.batch / (time.perf_counter() - began),
                audio_s=self.progress.step * self.recipe.batch * window_s,
                data_wait_s=waited,
                broken=len(self.broken),
            )
            metrics.step(row)
        if any_stop or self.save_is_due():
            self.states.save(self.progress)
        return bool(any_stop)

    def forward_backward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, audio and text embeddings [b, d] of this rank's batch; gradients are left in the parameters."""
        step = self.progress.step
        return accumulate(
            self.model,
            batch,
            self.loss,
            lambda chunk: dropout_seed(self.recipe.seed, step, self.ranks.rank, chunk),
            self.recipe.accumulation,
            PRECISIONS[self.recipe.precision],
            self.scaler.scale,
        )

    def update(self) -> None:
        """Move the parameters by their gradients, and keep the temperature within its bound."""
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.clap.logit_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))
            self.ranks.align(statistics(self.clap))
        if self.average is not None:
            self.average.follow(self.clap)

    def whole_model(self) -> AbstractContextManager[None]:
        """Inside the block `published` has its weights, which a sharded run must gather first."""
        return nullcontext() if self.whole is None else self.whole.gathered()

    def save_is_due(self) -> bool:
        """A state is saved every `saving.every_steps` steps, and before each validation, which can take long."""
        every = self.recipe.saving.every_steps
        due = every is not None and self.progress.step % every == 0
        return self.epoch_to_validate or self.validation_is_due or due

    @property
    def validation_is_due(self) -> bool:
        """Whether the step that was just made is validated within its epoch, and has not been."""
        every, step = self.recipe.validation.every_steps, self.progress.step
        return every is not None and step > 0 and step % every == 0 and self.progress.validated != step

    def validate(self, stop: Stop, metrics: MetricsLog | None) -> bool:
        """Validate, or make the final average. Returns False, with nothing changed, where a rank wants to stop."""
        if self.trained:
            return self.mix(stop, metrics)
        return self.end_epoch(stop, metrics) if self.epoch_to_validate else self.validate_between(stop, metrics)

    def validate_between(self, stop: Stop, metrics: MetricsLog | None) -> bool:
        """Validate within an epoch; publish the checkpoint if it is the best so far.

        Returns False, with nothing changed, where a rank wants to stop.
        """
        progress = self.progress
        result = self.validator.validate(stop)
        if result is None:
            return False
        progress.validated = progress.step
        better = result.score is not None and (progress.best is None or result.score > progress.best)
        if metrics is not None:
            metrics.between(progress.step, result)
        if better:
            progress.best = result.score
            self.publish(f"step-{progress.step:08d}", result, best=True)
        return True

    def publish(self, name: str, result: ValidationResult, best: bool) -> None:
        """Write the checkpoint `name`, on the leader."""
        summary = self.summary(result)
        on_leader(self.ranks, self.checkpoints.publish, self.published, self.tokenizer, name, result, summary, best)

    def end_epoch(self, stop: Stop, metrics: MetricsLog | None) -> bool:
        """Validate the epoch, adapt the learning rate, publish its checkpoint and save the state.

        Returns False, with nothing changed, where a rank wants to stop: the run then resumes from the state before.
        """
        progress = self.progress
        result = self.validator.validate(stop)
        if result is None:
            return False
        epoch, training_loss = progress.epochs_validated, progress.epoch_loss / self.steps_per_epoch
        self.schedule.epoch(training_loss if result.loss is None else result.loss)
        best = result.score is None or progress.best is None or result.score > progress.best
        progress.best = result.score if best else progress.best
        progress.since_best = 0 if best else progress.since_best + 1
        progress.validated = progress.step
        progress.epoch_loss = 0.0
        progress.epochs_validated += 1
        if metrics is not None:
            metrics.epoch(progress.step, epoch, training_loss, result)
        self.publish(f"epoch-{epoch:03d}", result, best)
        self.states.save(progress)
        return True

    def mix(self, stop: Stop, metrics: MetricsLog | None) -> bool:
        """Average the best weights with the start's, in the share that validation chooses, and publish the average.

        Returns False, with nothing changed, where a rank wants to stop.
        """
        kept = copy.deepcopy(self.published.state_dict())
        start = build(self.recipe, self.data)[0].state_dict()
        best = load(self.run / "best").model.state_dict()
        results: dict[float, ValidationResult] = {}
        try:
            for share in sorted({0.0, *self.recipe.mix}):
                self.published.load_state_dict(averaged(start, best, share))
                result = self.validator.validate(stop)
                if result is None or result.score is None:
                    return False
                results[share] = result
            scores = {share: cast("float", result.score) for share, result in results.items()}
            if self.validator.named is not None:
                scores = {share: result.zero_shot[HELD_OUT] for share, result in results.items()}
            share = choose(scores, self.validator.named)
            self.published.load_state_dict(averaged(start, best, share))
            self.progress.mixed = share
            self.progress.before, self.progress.after = results[0.0].zero_shot, results[share].zero_shot
            self.publish("mixed", results[share], best=True)
        finally:
            self.published.load_state_dict(kept)
        if metrics is not None:
            metrics.mixed(scores, share)
        self.states.save(self.progress)
        return True

    def summary(self, result: ValidationResult) -> dict[str, Any]:
        """The training so far, as the checkpoint's config states it."""
        return Summary(
            epochs=self.progress.epochs_validated,
            steps=self.progress.step,
            pairs=count_pairs(self.corpus.training),
            recordings=len(self.corpus.training),
            batch=self.recipe.batch,
            ranks=self.ranks.world,
            held_out_loss=result.loss,
            zero_shot=result.zero_shot,
            start=self.recipe.start.checkpoint,
            mixed=self.progress.mixed,
        ).model_dump(exclude_none=True) | {"held_out_loss": result.loss}


class Summary(Frozen):
    """The member `training` of a checkpoint's config."""

    epochs: int
    steps: int
    pairs: int
    recordings: int
    batch: int
    ranks: int
    held_out_loss: float | None
    zero_shot: dict[str, float]
    start: str | None = None
    mixed: float | None = None


def recall_at_1(audio: Tensor, text: Tensor) -> float:
    """Share of this rank's clips [b, d] whose nearest caption [b, d] in the batch is their own."""
    nearest = (audio @ text.T).argmax(dim=1)
    return float((nearest == torch.arange(len(audio), device=audio.device)).float().mean())
