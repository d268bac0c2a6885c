"""One stage of the student's training, on new mixtures that are each used twice.

A stage starts from the averaged weights of the stage before it, with a new optimiser. Its learning rate is constant or
decays to zero. A stage of constant rate can be extended: raise its `clips` and run the same command.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from model.config import Frozen
from training.bundled.blocks import Block, Blocks, floats, made
from training.bundled.student import Student, Teacher, losses, shifted
from training.loop.state import StateError, Stateful, States, capture, restore
from training.loop.stop import stopping_on_signals

log = logging.getLogger(__name__)

PARTS = {"layers": 5.0, "embedding": 5.0, "order": 1.0}
"""Weights of the parts of the loss."""


class Stage(Frozen):
    """`clips` windows of `window_s` seconds, counting both uses of a mixture.

    The learning rate rises linearly over `warm_up` clips, then stays at `learning_rate` or, if it `falls`, decays
    linearly to zero. If it is `forced`, each layer is trained alone, on the teacher's output of the layer before.
    `averaged` is the decay of the exponential average of the weights. A turn trains on a new block of
    `block` mixtures and on the block of `lag` turns before, in batches of `batch`.
    """

    seed: int = Field(ge=0)
    clips: int = Field(ge=1)
    window_s: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    falls: bool = False
    forced: bool = False
    warm_up: int = Field(0, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    averaged: float = Field(0.999, ge=0, lt=1)
    block: int = Field(256, ge=1)
    batch: int = Field(64, ge=2)
    lag: int = Field(16, ge=1)

    @property
    def turn(self) -> int:
        """Clips per turn."""
        return 2 * self.block

    @property
    def turns(self) -> int:
        return self.clips // self.turn

    def rate(self, clips: int) -> float:
        """The learning rate after `clips`."""
        rise = min(1.0, (clips + self.batch) / self.warm_up) if self.warm_up else 1.0
        fall = max(0.0, 1 - clips / self.clips) if self.falls else 1.0
        return self.learning_rate * rise * fall

    def begun(self) -> str:
        """The settings that a saved state must share: all of them, except `clips` where the rate is constant."""
        return self.model_dump_json(exclude=None if self.falls else {"clips"})


class Average:
    """A running average of a student's weights and batch-norm statistics."""

    def __init__(self, module: Student) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.steps = 0

    @torch.no_grad()
    def follow(self, module: Student, kept: float) -> None:
        """Average in the weights of `module`. The first steps keep less, so that the start fades."""
        self.steps += 1
        kept = min(kept, self.steps / (self.steps + 10))
        own, new = self.module.state_dict(), module.state_dict()
        floating = [name for name in own if own[name].is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floating], [new[name] for name in floating], 1 - kept)

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        self.module.load_state_dict(state_dict["module"])
        self.steps = state_dict["steps"]


def turns(blocks: Blocks, lag: int, first: int, last: int, producers: int) -> Iterator[tuple[int, Block]]:
    """The mixtures of each turn: a new block, and the block of `lag` turns before.

    They do not depend on `first`, so a resumed run gets the same. The first `lag` turns use their new block twice.
    """
    held: deque[Block] = deque(maxlen=lag)
    begin = max(0, first - lag) if first < last else last  # a finished stage makes no blocks
    for turn, block in zip(range(begin, last), made(blocks, range(begin, last), producers), strict=True):
        if turn >= first:
            old = held[0] if len(held) == lag else block
            yield turn, Block(torch.cat([block.windows, old.windows]))
        held.append(block)


def batches(mixtures: Block, size: int, seed: int, turn: int) -> Iterator[tuple[Tensor, torch.Generator]]:
    """A turn's batches, half new and half old mixtures; the order depends on `seed` and `turn` alone."""
    generator = torch.Generator().manual_seed((seed << 32) + turn)
    block, half = len(mixtures.windows) // 2, size // 2
    new, old = (torch.randperm(block, generator=generator) for _ in range(2))
    for first in range(0, block, half):
        part = slice(first, first + half)
        yield mixtures.windows[torch.cat([new[part], block + old[part]])], generator


def train_stage(
    stage: Stage,
    blocks: Blocks,
    student: Student,
    teacher: Teacher,
    folder: Path,
    judge: Callable[[Student], float],
    producers: int,
    save_every: int = 25,
    stop_after: int | None = None,
) -> Student | None:
    """Train `student` and return its average; states and one JSON line per turn are written to `folder`.

    `judge` rates the average whenever a state is saved. After SIGTERM or SIGINT the turn is finished, a state is saved
    and None is returned; `stop_after` turns return None without a state. Raises
    StateError where the states are those of another stage, FloatingPointError where the loss is not finite.
    """
    student.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.05  # EfficientAT's 0.01 trails behind in a run this short
    decay = [p for p in student.parameters() if p.ndim > 1]
    plain = [p for p in student.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": stage.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=stage.learning_rate)
    average = Average(student)
    parts: dict[str, Stateful] = {"student": student, "average": average, "optimiser": optimiser}
    states, first = States(folder / "states", keep=2), 0
    if saved := states.latest():
        first, state = saved
        if state["stage"] != stage.begun():
            raise StateError(f"{folder} holds another stage: {state['stage']}; this one is {stage.begun()}")
        restore(parts, state)
        log.info("going on at turn %d of %d", first, stage.turns)
    folder.mkdir(parents=True, exist_ok=True)
    last = stage.turns if stop_after is None else min(stage.turns, stop_after)
    with (folder / "turns.jsonl").open("a", encoding="utf-8") as lines, stopping_on_signals() as stop:
        started = time.perf_counter()
        for turn, mixtures in turns(blocks, stage.lag, first, last, producers):
            waited = time.perf_counter() - started
            row: dict[str, float] = {"turn": turn, "clips": (turn + 1) * stage.turn}
            row |= train_turn(stage, student, teacher, optimiser, average, mixtures, turn)
            if (turn + 1) % save_every == 0 or turn + 1 == stage.turns or stop.wanted:
                row["held_out_cosine"] = judge(average.module)
                states.save(turn + 1, capture(parts) | {"stage": stage.begun()})
                log.info("%s", json.dumps(row))
            row |= {"seconds": time.perf_counter() - started, "waited": waited}
            started = time.perf_counter()
            lines.write(json.dumps(row) + "\n")
            lines.flush()
            if stop.wanted:
                return None
    return average.module if last == stage.turns else None


def train_turn(
    stage: Stage,
    student: Student,
    teacher: Teacher,
    optimiser: torch.optim.Optimizer,
    average: Average,
    mixtures: Block,
    turn: int,
) -> dict[str, float]:
    """Train for one turn; returns the mean of each part of the loss."""
    sums: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    for step, (batch, generator) in enumerate(batches(mixtures, stage.batch, stage.seed, turn)):
        rate = stage.rate(turn * stage.turn + step * stage.batch)
        for group in optimiser.param_groups:
            group["lr"] = rate
        windows = shifted(floats(batch), generator)
        heard = teacher.hear(windows)
        parts = losses(student.forced(windows, heard) if stage.forced else student(windows), heard, teacher)
        loss: Tensor = sum((weight * parts[name] for name, weight in PARTS.items()), torch.zeros(()))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss {loss.item()} at turn {turn}, step {step}: {parts}")
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        average.follow(student, stage.averaged)
        for name, part in parts.items():
            sums[name] += part.item() * stage.batch / stage.turn
    return {"rate": rate, **sums}
