"""The learning rate schedule: warm-up, then reduce-on-plateau (as in the paper) or a cosine."""

from __future__ import annotations

import math

from training.recipe import Cosine, Plateau


class Schedule:
    """The factor of the learning rate at each step, in [0, 1]."""

    def __init__(self, config: Plateau | Cosine, steps: int) -> None:
        self.config = config
        self.steps = steps
        self.factor = 1.0
        self.best = math.inf
        self.bad_epochs = 0

    def share(self, step: int) -> float:
        warm = self.config.warm_up_steps
        if step < warm:
            return self.factor * (step + 1) / warm
        if isinstance(self.config, Plateau):
            return self.factor
        progress = min((step - warm) / max(self.steps - warm - 1, 1), 1.0)
        return self.config.final + (1 - self.config.final) * 0.5 * (1 + math.cos(math.pi * progress))

    def epoch(self, loss: float) -> None:
        """Report an epoch's loss. Patience counts as in torch's ReduceLROnPlateau."""
        if not isinstance(self.config, Plateau):
            return
        if loss < self.best * (1 - 1e-4):
            self.best, self.bad_epochs = loss, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > self.config.patience:
            self.factor, self.bad_epochs = self.factor * self.config.factor, 0

    def state_dict(self) -> dict[str, float]:
        return {"factor": self.factor, "best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.factor, self.best, self.bad_epochs = state["factor"], state["best"], int(state["bad_epochs"])
