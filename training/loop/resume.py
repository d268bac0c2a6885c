"""A run's state: what is saved beside the weights, and the checks before a run resumes from it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.data.corpus import Corpus
from training.loop.ranks import Ranks, on_leader
from training.loop.sharding import gathered
from training.loop.state import StateError, Stateful, States, capture, restore
from training.recipe import Recipe

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """The progress of a run, apart from weights and optimiser."""

    step: int = 0
    epochs_validated: int = 0
    best: float | None = None
    epoch_loss: float = 0.0
    """The sum of the losses of the epoch's steps so far."""
    broken: dict[str, str] = field(default_factory=dict)
    since_best: int = 0
    """Epochs since the best one."""
    validated: int = 0
    """The last step of a validation between epochs."""
    mixed: float | None = None
    """The share of the trained weights in the final average."""
    before: dict[str, float] = field(default_factory=dict)
    """The zero-shot figures of the start."""
    after: dict[str, float] = field(default_factory=dict)
    """The zero-shot figures of the final average."""


@dataclass(frozen=True)
class RunStates:
    """The states of a run of `recipe` on `corpus`."""

    states: States
    parts: Mapping[str, Stateful]
    recipe: Recipe
    corpus: Corpus
    ranks: Ranks

    def save(self, progress: Progress) -> None:
        """Save the state, on the leader. All ranks must call it together. Raises StateError where the disk is full."""
        about = {
            "progress": vars(progress),
            "recipe": self.recipe.model_dump(mode="json"),
            "corpus": self.corpus.fingerprint,
            "world": self.ranks.world,
        }
        state = gathered(capture(self.parts), kept=self.ranks.leader)
        on_leader(self.ranks, self.states.save, progress.step, state | about)

    def resume(self) -> Progress:
        """Load the newest state into the parts, the same on every rank.

        Raises StateError where the state belongs to another recipe or other data.
        """
        saved = self.states.latest()
        steps = self.ranks.collect(None if saved is None else saved[0])
        run = self.states.folder.parent
        if len(set(steps)) > 1:
            raise StateError(f"ranks see different states in {self.states.folder}: all nodes must share the folder")
        if saved is None:
            return Progress()
        step, state = saved
        if changed := differences(identity(completed(state["recipe"])), identity(self.recipe.model_dump(mode="json"))):
            raise StateError(
                f"the run in {run} was started with another recipe ({', '.join(changed)}); "
                "restore the recipe, or train into another folder"
            )
        if state["corpus"] != self.corpus.fingerprint:
            raise StateError(f"the training data is not what the run in {run} was started with")
        if state["world"] != self.ranks.world:
            log.warning(
                "the run was on %d ranks and resumes on %d: the batches are the same, dropout masks and batch-norm "
                "groups differ",
                state["world"],
                self.ranks.world,
            )
        restore(self.parts, state)
        log.info("resuming after step %d", step)
        return Progress(**state["progress"])


MAY_CHANGE: dict[str, tuple[str, ...]] = {
    "wandb": (),
    "saving": (),
    "loading": ("workers", "prefetch"),
    "fully_shard": (),
}
"""What a resumed run may change: batches stay the same, and weights up to rounding."""


def identity(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what a resumed run may change: whole members, or the named parts of one."""
    kept = {name: value for name, value in recipe.items() if MAY_CHANGE.get(name) != ()}
    for name, parts in MAY_CHANGE.items():
        if isinstance(kept.get(name), dict):
            kept[name] = {part: value for part, value in kept[name].items() if part not in parts}
    return kept


def completed(recipe: dict[str, Any]) -> dict[str, Any]:
    """A saved recipe with the defaults of members that were added after it was saved."""
    try:
        return Recipe.model_validate(recipe).model_dump(mode="json")
    except ValueError:
        return recipe


def differences(before: Any, now: Any, place: str = "") -> list[str]:
    """The differences of two recipes, as `optimiser.learning_rate: 0.001, now 0.01`."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            found
            for key in keys
            for found in differences(before.get(key), now.get(key), f"{place}.{key}" if place else key)
        ]
    return [] if before == now else [f"{place}: {before}, now {now}"]
