"""Gradients are those of one process with the whole batch, however the step is divided."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.gradients import Setting, gradients, piecewise
from training.loop.ranks import Ranks

# Each process imports torch, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[3]
SETTINGS = [
    Setting(local=local, chunks=chunks, drop=drop)
    for local, chunks, drop in itertools.product([False, True], [1, 4], [False, True])
]
# Only where the batch is divided both ways; the settings before have every combination.
SETTINGS += [
    Setting(chunks=4, sigmoid=True),
    Setting(chunks=2, drop=True, sigmoid=True),
    Setting(local=True, chunks=2, drop=True, encoder="htsat"),
    Setting(sharded=True),
    Setting(chunks=2, drop=True, sigmoid=True, sharded=True),
    Setting(local=True, chunks=2, drop=True, encoder="htsat", sharded=True, recompute=True),
]
Found = dict[str, Tensor]


def on_ranks(world: int, settings: list[Setting], folder: Path) -> list[list[Found]]:
    """The results of every rank, [rank][setting]."""
    torch.save([asdict(setting) for setting in settings], folder / "settings.pt")
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.training.gradients",
        str(folder),
        str(folder / "settings.pt"),
    ]
    environment = os.environ | {"WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen(command, cwd=ROOT, env=environment | {"RANK": str(rank)}) for rank in range(world)]
    assert [process.wait(300) for process in processes] == [0] * world
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.fixture(scope="module", params=[1, 2, pytest.param(4, marks=pytest.mark.slow)])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[list[Found]]:
    """The gradients of every setting on 1, 2 and 4 ranks."""
    settings = [replace(setting, world=request.param) for setting in SETTINGS]
    if request.param == 1:
        return [[gradients(setting, Ranks()) for setting in settings]]
    return on_ranks(request.param, settings, tmp_path_factory.mktemp("ranks"))


one_process = cache(piecewise)


def assert_equal(found: Found, expected: Found, relative: float = 1e-5) -> None:
    """Each gradient, as a vector, within `relative` of the expected one.

    Some are zero, as what they move is taken away again (a bias by the batch norm after it, a key's bias by the
    softmax): what rounding makes of them is compared with a millionth of the largest.
    """
    assert found.keys() == expected.keys()
    floor = 1e-6 * max(float(value.norm()) for name, value in expected.items() if "running" not in name)
    for name, value in expected.items():
        error = float((found[name] - value).norm() / value.norm().clamp(min=floor))
        assert error < relative, f"{name}: {error:.1e}"


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=lambda number: str(SETTINGS[number]))
def test_gradients_equal_those_of_one_process(found: list[list[Found]], number: int) -> None:
    setting = SETTINGS[number]
    # Batch norm and dropout divide the batch as ranks and chunks do; without them it is simply the whole batch.
    alone = replace(setting, sharded=False, recompute=False)
    expected = one_process(len(found), setting.chunks, alone) if setting.drop else one_process(1, 1, alone)
    for rank in found:
        statistics = {name for name in expected if "running" in name}
        of_rank = {name: value for name, value in rank[number].items() if name not in statistics}
        assert_equal(of_rank, {name: value for name, value in expected.items() if name not in statistics})


def test_the_temperature_s_gradient_is_not_multiplied_by_the_chunks(found: list[list[Found]]) -> None:
    expected = one_process(1, 1, Setting())["clap.logit_scale"]
    for rank, (number, setting) in itertools.product(found, enumerate(SETTINGS)):
        if not setting.drop and not setting.sigmoid:
            assert float(rank[number]["clap.logit_scale"]) == pytest.approx(float(expected), rel=1e-5)


def test_batch_norm_counts_each_chunk_once() -> None:
    setting = Setting(chunks=4, drop=True)
    assert_equal(gradients(setting, Ranks()), piecewise(1, 4, setting))


@pytest.mark.parametrize(
    ("encoder", "chunks"),
    [("mobilenet", 1), ("mobilenet", 4), ("htsat", 2), pytest.param("cnn14", 2, marks=pytest.mark.slow)],
)
def test_activation_checkpointing_changes_nothing(encoder: str, chunks: int) -> None:
    setting = Setting(chunks=chunks, drop=True, encoder=encoder)
    assert_equal(gradients(replace(setting, recompute=True), Ranks()), gradients(setting, Ranks()))


@pytest.mark.parametrize(("audio", "text", "chunks"), [(True, False, 1), (False, True, 4), (True, True, 4)])
def test_a_frozen_encoder_takes_no_gradient_and_keeps_its_statistics(audio: bool, text: bool, chunks: int) -> None:
    setting = Setting(chunks=chunks, drop=True, freeze_audio=audio, freeze_text=text)
    found, before = gradients(setting, Ranks()), gradients(replace(setting, drop=False), Ranks())
    assert any(name.startswith("clap.audio_encoder.base.features") and "running" not in name for name in found) != audio
    assert any(name.startswith("clap.caption_encoder.base.") for name in found) != text
    assert any("audio_encoder.projection" in name for name in found)
    assert any("caption_encoder.projection" in name for name in found)
    moved = [name for name in before if "running" in name and not torch.equal(found[name], before[name])]
    assert bool(moved) != audio
