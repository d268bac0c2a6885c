"""The run: a recipe and a data folder in, checkpoint directories out. `train` reads top to bottom."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.clap import MAX_LOGIT_SCALE
from model.config import Frozen
from training.data.corpus import Corpus, read_corpus
from training.data.loader import Batch, Segments, batches, shards_of
from training.data.sampler import Batches
from training.loop.accumulate import accumulate, dropout_seed
from training.loop.loss import ContrastiveLoss
from training.loop.progress import Step, watching
from training.loop.publish import Checkpoints
from training.loop.ranks import Ranks
from training.loop.schedule import Schedule
from training.loop.state import StateError, Stateful, States, capture, restore
from training.loop.stop import stopping_on_signals
from training.loop.towers import Towers, checkpoint_activations
from training.loop.validate import Judgement, Validator
from training.recipe import Recipe, RecipeError
from training.start.head import start_from_head
from training.start.start import build, check_paths

log = logging.getLogger(__name__)

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# A share of broken files is told from bad luck once this many recordings have been drawn.
ENOUGH_DRAWN = 100


class TrainingStopped(RuntimeError):
    """The run cannot go on; the message says why. The last saved state is kept."""


@dataclass(frozen=True)
class Outcome:
    """Where a run stands: `finished`, or stopped by a signal after `step` steps with its state saved."""

    step: int
    finished: bool
    best: float | None


@dataclass
class Progress:
    """What a run has come to, apart from weights and optimiser."""

    step: int = 0
    best: float | None = None
    epoch_loss: float = 0.0  # summed over the steps of the epoch so far
    broken: dict[str, str] = field(default_factory=dict)


def train(recipe: Recipe, data: Path, run: Path, ranks: Ranks | None = None, stop_after: int | None = None) -> Outcome:
    """Train `recipe` on the folder `data` into the folder `run`, or go on where that run was stopped.

    Every rank returns the same. Raises RecipeError and ManifestError before the first step, StateError where a state
    cannot be written or read, TrainingStopped for a loss that is not finite and for too many broken files.
    `stop_after` ends the call at that step, as a signal would.
    """
    ranks = ranks or Ranks()
    recipe.check(data, ranks.world)
    check_paths(recipe, data)
    corpus = read_corpus(recipe, data)
    clap, tokenizer = build(recipe, data)
    segments = Segments(corpus.training, recipe.checkpoint.front_end, recipe.seed)
    states, checkpoints = States(run / "states", recipe.saving.keep), Checkpoints(run, recipe.saving.keep)
    if recipe.start.head is not None and recipe.start.audio is not None and not states.steps():
        # DDP hands the leader's weights to the other ranks; a run that goes on takes its state's.
        weights = data / recipe.start.audio
        with_leader(ranks, start_from_head, clap, tokenizer, weights, segments, recipe.start.head, recipe.seed)
    towers = Towers(clap.to(ranks.device), recipe.freeze.audio, recipe.freeze.text).train()
    tasks_path = None if recipe.validation.tasks_path is None else data / recipe.validation.tasks_path
    workers = recipe.loading.workers
    validator = Validator(
        corpus.validation, recipe.validation.tasks, tasks_path, tokenizer, clap, ranks, recipe.batch, workers
    )
    model = distribute(towers, recipe, ranks)
    optimiser = make_optimiser(towers, recipe)
    scaler = torch.GradScaler(ranks.device.type, enabled=recipe.precision == "float16")
    steps = recipe.epochs * (len(segments) // recipe.batch)
    schedule = Schedule(recipe.schedule, steps)
    parts: dict[str, Stateful] = {"model": clap, "optimiser": optimiser, "schedule": schedule, "scaler": scaler}
    progress = resume(states, parts, recipe, corpus, ranks)

    sampler = Batches(
        len(segments),
        recipe.batch,
        recipe.epochs,
        recipe.seed,
        ranks.rank,
        ranks.world,
        progress.step,
        shards_of(corpus.training),
    )
    loss = ContrastiveLoss(ranks, recipe.local_loss)
    source = iter(batches(segments, sampler, tokenizer, workers, recipe.loading.prefetch, ranks.device.type == "cuda"))
    with stopping_on_signals() as stop, watching(run, steps, progress.step, ranks.leader) as sight:
        while progress.step < steps:
            began = time.perf_counter()
            batch = next(source).to(ranks.device)
            waited = time.perf_counter() - began
            step, epoch = progress.step, progress.step // sampler.steps_per_epoch
            rate = recipe.optimiser.learning_rate * schedule.share(step)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["multiple"]

            value, audio, text = accumulate(
                model,
                batch,
                loss,
                lambda chunk, step=step: dropout_seed(recipe.seed, step, ranks.rank, chunk),  # type: ignore[misc]
                recipe.accumulation,
                PRECISIONS[recipe.precision],
                scaler.scale,
            )
            scaler.unscale_(optimiser)
            norm = float(nn.utils.clip_grad_norm_(trained(towers), recipe.clip_gradient or math.inf))
            found = float(value)
            bad = not math.isfinite(found) or (not math.isfinite(norm) and not scaler.is_enabled())
            new = {name: why for name, why in batch.broken.items() if name not in progress.broken}
            total, bads, stops, news = ranks.sums([found, bad, stop.wanted or step + 1 == stop_after, len(new)])
            if bads:
                raise TrainingStopped(named(ranks, step, epoch, found, norm, batch, audio, text))
            if news:
                note_broken(progress, new, ranks)
                check_broken(progress, recipe, corpus, (step + 1) * recipe.batch)
            scaler.step(optimiser)
            scaler.update()
            optimiser.zero_grad(set_to_none=True)
            with torch.no_grad():
                clap.logit_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))

            mean = total / ranks.world
            progress.step, progress.epoch_loss = step + 1, progress.epoch_loss + mean
            if sight is not None:
                seconds = time.perf_counter() - began
                row = Step(
                    step=step,
                    epoch=epoch,
                    loss=mean,
                    temperature=float((-clap.logit_scale.detach()).exp()),
                    learning_rate=rate,
                    gradient_norm=norm,
                    recall_at_1=recall_at_1(audio, text),
                    clips_per_s=recipe.batch / seconds,
                    audio_s=progress.step * recipe.batch * recipe.checkpoint.front_end.window_s,
                    data_wait_s=waited,
                    broken=len(progress.broken),
                )
                sight.step(row)
            ended = progress.step % sampler.steps_per_epoch == 0
            if ended:
                judged = validator.judge()
                training_loss = progress.epoch_loss / sampler.steps_per_epoch
                progress.epoch_loss = 0.0
                schedule.epoch(training_loss if judged.loss is None else judged.loss)
                best = judged.score is None or progress.best is None or judged.score > progress.best
                progress.best = judged.score if best else progress.best
                if sight is not None:
                    sight.epoch(progress.step, epoch, training_loss, judged)
                summary = summarise(recipe, corpus, progress, epoch, judged)
                with_leader(ranks, checkpoints.publish, clap, tokenizer, epoch, judged, summary, best)
            every = recipe.saving.every_steps
            if ended or stops or (every is not None and progress.step % every == 0):
                with_leader(ranks, save, states, parts, progress, recipe, corpus, ranks)
            if stops and progress.step < steps:
                log.info("stopped after step %d of %d; the same command goes on from there", progress.step, steps)
                break
    return Outcome(progress.step, progress.step == steps, progress.best)


def distribute(towers: Towers, recipe: Recipe, ranks: Ranks) -> Towers | DistributedDataParallel:
    """The towers as DDP wants them. Raises RecipeError where batch norm cannot be synchronised."""
    if recipe.activation_checkpointing:
        checkpoint_activations(towers.clap)
    if ranks.world == 1:
        return towers
    if recipe.sync_batch_norm:
        if ranks.device.type != "cuda":
            raise RecipeError("sync_batch_norm: torch synchronises batch norm on GPUs alone")
        nn.SyncBatchNorm.convert_sync_batchnorm(towers.clap.audio_encoder)
    devices = [ranks.device.index] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(towers, device_ids=devices, gradient_as_bucket_view=True)


def trained(towers: Towers) -> list[nn.Parameter]:
    return [parameter for parameter in towers.parameters() if parameter.requires_grad]


def make_optimiser(towers: Towers, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam or AdamW over what is trained, the encoders' bases at their own multiples of the rate."""
    settings = recipe.optimiser
    bases = {
        "audio": [p for p in towers.clap.audio_encoder.base.parameters() if p.requires_grad],
        "text": [p for p in towers.clap.caption_encoder.base.parameters() if p.requires_grad],
    }
    inside = {id(parameter) for base in bases.values() for parameter in base}
    groups: list[dict[str, Any]] = [
        {"params": bases["audio"], "multiple": settings.audio},
        {"params": bases["text"], "multiple": settings.text},
        {"params": [p for p in trained(towers) if id(p) not in inside], "multiple": 1.0},
    ]
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    groups = [group for group in groups if group["params"]]
    return kind(groups, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay)


def with_leader(ranks: Ranks, work: Callable[..., object], *arguments: object) -> None:
    """Let the leader do what one rank is to do; where it fails, its error is raised on every rank."""
    failure: Exception | None = None
    if ranks.leader:
        try:
            work(*arguments)
        except (RecipeError, StateError) as error:
            failure = error
    found = ranks.collect(failure)[0]
    if isinstance(found, Exception):
        raise found


def save(
    states: States, parts: Mapping[str, Stateful], progress: Progress, recipe: Recipe, corpus: Corpus, ranks: Ranks
) -> None:
    states.save(
        progress.step,
        {
            **capture(parts),
            "progress": vars(progress),
            "recipe": recipe.model_dump(mode="json"),
            "corpus": corpus.fingerprint,
            "world": ranks.world,
        },
    )


def resume(states: States, parts: Mapping[str, Stateful], recipe: Recipe, corpus: Corpus, ranks: Ranks) -> Progress:
    """Bring `parts` to the newest state, the same on every rank. Raises StateError where it is of another run."""
    saved = states.latest()
    steps = ranks.collect(None if saved is None else saved[0])
    if len(set(steps)) > 1:
        raise StateError(f"ranks find different states in {states.folder}: the folder must be one that all nodes share")
    if saved is None:
        return Progress()
    step, state = saved
    if changed := differences(state["recipe"], recipe.model_dump(mode="json")):
        raise StateError(
            f"the run in {states.folder.parent} was started with another recipe ({', '.join(changed)}); "
            "restore it, or train into another folder"
        )
    if state["corpus"] != corpus.fingerprint:
        raise StateError(f"the training data is not what the run in {states.folder.parent} was started with")
    if state["world"] != ranks.world:
        log.warning(
            "the run was on %d ranks and goes on on %d: the same batches, other dropout masks and batch-norm groups",
            state["world"],
            ranks.world,
        )
    restore(parts, state)
    progress = Progress(**state["progress"])
    log.info("resuming at step %d", step)
    return progress


def differences(before: Any, now: Any, place: str = "") -> list[str]:
    """Where two recipes differ, as `optimiser.learning_rate: 0.001, now 0.01`."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            found
            for key in keys
            for found in differences(before.get(key), now.get(key), f"{place}.{key}" if place else key)
        ]
    return [] if before == now else [f"{place}: {before}, now {now}"]


def note_broken(progress: Progress, new: dict[str, str], ranks: Ranks) -> None:
    """Count every rank's broken recordings; the leader logs each once."""
    for part in ranks.collect(new):
        for name, why in cast("dict[str, str]", part).items():
            if name not in progress.broken:
                progress.broken[name] = why
                if ranks.leader:
                    log.warning("skipped %s: %s", name, why)


def check_broken(progress: Progress, recipe: Recipe, corpus: Corpus, drawn: int) -> None:
    """Raises TrainingStopped where more recordings are broken than the recipe allows."""
    count = len(corpus.training)
    seen = min(count, max(drawn, ENOUGH_DRAWN))
    broken = len(progress.broken)
    if broken > recipe.loading.max_broken * seen:
        name, why = next(iter(progress.broken.items()))
        raise TrainingStopped(
            f"{broken} of about {min(count, drawn)} recordings drawn so far cannot be read, more than the share of "
            f"{recipe.loading.max_broken:g} that the recipe allows (loading.max_broken); the first is {name}: {why}"
        )


def named(
    ranks: Ranks, step: int, epoch: int, loss: float, norm: float, batch: Batch, audio: Tensor, text: Tensor
) -> str:
    """What is not finite, and on which recordings."""
    guilty = [
        f"the {kind} embedding of {name}"
        for kind, embeddings in (("audio", audio), ("text", text))
        for name, row in zip(batch.names, embeddings, strict=True)
        if not bool(torch.isfinite(row).all())
    ]
    found = [name for part in ranks.collect(guilty) for name in cast("list[str]", part)]
    losses = [value for value in ranks.collect(loss) if not math.isfinite(cast("float", value))]
    what = f"the loss is {losses[0]}" if losses else f"the gradient norm is {norm}"
    if not found:
        where = "every embedding is finite: the learning rate may be too high"
    else:
        where = f"not finite: {', '.join(found[:3])}" + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    return f"{what} at step {step} of epoch {epoch}; {where}"


def recall_at_1(audio: Tensor, text: Tensor) -> float:
    """Share of this rank's clips whose own caption is the nearest of the batch, a glimpse of retrieval."""
    nearest = (audio @ text.T).argmax(dim=1)
    return float((nearest == torch.arange(len(audio), device=audio.device)).float().mean())


class Summary(Frozen):
    """What a checkpoint's config says of its training."""

    epochs: int
    steps: int
    pairs: int
    recordings: int
    batch: int
    ranks: int
    held_out_loss: float | None
    zero_shot: dict[str, float]


def summarise(recipe: Recipe, corpus: Corpus, progress: Progress, epoch: int, judged: Judgement) -> dict[str, Any]:
    return Summary(
        epochs=epoch + 1,
        steps=progress.step,
        pairs=sum(len(clip.captions) for clip in corpus.training),
        recordings=len(corpus.training),
        batch=recipe.batch,
        ranks=int(os.environ.get("WORLD_SIZE", 1)),
        held_out_loss=judged.loss,
        zero_shot=judged.zero_shot,
    ).model_dump()
