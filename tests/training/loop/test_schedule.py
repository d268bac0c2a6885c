"""Learning rates over a run."""

from __future__ import annotations

import pytest
import torch

from training.loop.schedule import Schedule
from training.recipe import Cosine, Plateau


def test_the_plateau_is_torch_s(recwarn: pytest.WarningsRecorder) -> None:
    losses = [3.0, 2.0, 2.0, 2.1, 1.99999, 2.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
    schedule = Schedule(Plateau(factor=0.1, patience=2), steps=100)
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.1, patience=2)
    for loss in losses:
        schedule.epoch(loss)
        theirs.step(loss)
        assert schedule.share(50) == pytest.approx(optimiser.param_groups[0]["lr"])
    assert schedule.share(50) < 1


def test_warm_up_rises_to_the_full_rate_and_the_cosine_falls_to_its_end() -> None:
    schedule = Schedule(Cosine(final=0.1, warm_up_steps=10), steps=110)
    shares = [schedule.share(step) for step in range(110)]
    assert shares[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert shares[10] == pytest.approx(1.0)
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[-1] == pytest.approx(0.1)


def test_a_schedule_goes_on_from_its_state() -> None:
    one, two = (Schedule(Plateau(patience=1), steps=10) for _ in range(2))
    for loss in (2.0, 1.0, 1.5):
        one.epoch(loss)
    two.load_state_dict(one.state_dict())
    for loss in (1.2, 1.3, 1.4):
        one.epoch(loss)
        two.epoch(loss)
        assert one.share(5) == two.share(5)
