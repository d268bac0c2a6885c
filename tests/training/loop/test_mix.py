"""The final average of the start's weights and the trained ones."""

from __future__ import annotations

import pytest
import torch

from training.loop.mix import averaged, choose


def test_a_share_of_each_weight_is_taken_and_counters_are_kept() -> None:
    start = {"weight": torch.zeros(2), "count": torch.tensor(1)}
    trained = {"weight": torch.ones(2), "count": torch.tensor(9)}
    mixed = averaged(start, trained, 0.25)
    assert mixed["weight"].tolist() == [0.25, 0.25]
    assert mixed["count"] == 9


@pytest.mark.parametrize(
    ("figures", "clips", "share"),
    [
        ({0.0: 0.5, 0.5: 0.8, 1.0: 0.9}, 10_000, 1.0),
        ({0.0: 0.5, 0.5: 0.87, 1.0: 0.9}, 50, 0.5),
        ({0.0: 0.5, 0.5: 0.9, 1.0: 0.9}, None, 0.5),
        ({0.0: 0.9, 0.5: 0.8, 1.0: 0.7}, 50, 0.0),
    ],
    ids=["clearly best", "within a standard error", "a score without clips", "training made it worse"],
)
def test_the_start_has_the_benefit_of_the_doubt(figures: dict[float, float], clips: int | None, share: float) -> None:
    assert choose(figures, clips) == share
