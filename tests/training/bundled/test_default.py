"""How the bundled checkpoint is made, step by step, on recordings made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pydantic import ValidationError

from model.clap import Clap
from model.config import MobileNetConfig
from model.front_end import LogMel
from model.mobilenet import MobileNet
from tests.checkpoints import TINY
from training.bundled.blocks import Blocks, floats, made
from training.bundled.default import Judge, Recipe, decode, make_teacher, read_recipe
from training.bundled.finish import fit_projection
from training.bundled.heard import Kept, first_window
from training.bundled.mixture import mixture, place
from training.bundled.recordings import Recording, Recordings, WaveformStore, read_manifest
from training.bundled.stage import Stage, batches, train_stage, turns
from training.bundled.student import Student, Targets, losses, shifted
from training.loop.state import StateError
from training.tagging.tagger import FRONT_END, Tagger, class_labels

STAGE = Stage(seed=1, clips=4 * 16, window_s=0.25, learning_rate=1e-3, warm_up=16, block=8, batch=8, lag=1)
"""Turns of two steps of eight windows, the second use one turn after the first."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of five recordings and a broken one, and an untrained tagger of three classes."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for number, label in enumerate(["dog", "dog", "dog", "dog", "rain"]):
        soundfile.write(folder / f"{number}.wav", rng.standard_normal(4_000) * 0.1, 16_000)
        source = "elsewhere: a.wav" if number == 3 else "here"
        rows.append({"audio": f"{number}.wav", "caption": label, "labels": [label], "source": source, "licence": "CC0"})
    (folder / "broken.wav").write_bytes(b"RIFF....")
    rows.append({"audio": "broken.wav", "source": "here", "licence": "CC0"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    torch.manual_seed(0)
    state = MobileNet(MobileNetConfig(width=0.4, classes=3), LogMel(FRONT_END)).state_dict()
    torch.save(state, folder / "tagger.pt")
    (folder / "audioset_class_labels.csv").write_text("index,mid,display_name\n0,a,Dog\n1,b,Rain\n2,c,Car\n")
    return folder


@pytest.fixture(scope="module")
def tagger(folder: Path) -> Tagger:
    return Tagger(folder / "tagger.pt", class_labels(folder / "tagger.pt"))


@pytest.fixture(scope="module")
def store(folder: Path, tagger: Tagger) -> Path:
    return decode(["all"], {"all": folder}, tagger, folder / "run")["all"]


def recipe() -> Recipe:
    tiny = TINY.model_copy(update={"joint_dim": 512})
    return Recipe(manifests=("all",), held_out=("elsewhere",), space=("all",), stages=(), checkpoint=tiny)


def test_a_store_holds_every_recording_that_can_be_read(store: Path) -> None:
    recordings = WaveformStore(store)
    assert [len(recordings.samples(index)) for index in range(len(recordings))] == [8_000] * 5
    assert recordings.rows[4] == {"caption": "rain", "label": "rain", "collection": "here"}


def test_a_frequent_label_weighs_by_the_root_of_its_count(store: Path) -> None:
    weights = Recordings([store], []).weights()
    assert weights.sum() == pytest.approx(1.0)
    assert weights[:4].sum() == pytest.approx(2 * weights[4])


def test_held_out_collections_are_left_out_or_alone(store: Path) -> None:
    assert [row["collection"] for row in Recordings([store], ["elsewhere"]).rows] == ["here"] * 4
    assert [row["collection"] for row in Recordings([store], ["elsewhere"], held_out_only=True).rows] == ["elsewhere"]
    assert len(Kept.read([store], ["elsewhere"]).features) == 4


@pytest.mark.parametrize(
    ("source", "collection"),
    [
        ("UrbanSound8K (4 s cuts)", "UrbanSound8K (4 s cuts)"),
        ("github a/b: c/d.wav", "github a/b"),
        ("github a/b (x: 100 sounds): n1.wav", "github a/b (x: 100 sounds)"),
    ],
)
def test_a_source_is_of_a_collection(source: str, collection: str) -> None:
    assert Recording(Path(), "", (), source, "").collection == collection


def test_a_manifest_line_without_a_source_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"audio": "a.wav", "licence": "CC0"}\n')
    with pytest.raises(ValueError, match=r"manifest\.jsonl:1: no 'source'"):
        list(read_manifest(tmp_path / "manifest.jsonl"))


def test_a_mixture_is_the_same_for_the_same_seed_and_never_over_full_scale() -> None:
    rng = np.random.default_rng(0)
    sources = [(3_000 * rng.standard_normal(n)).astype(np.int16) for n in (100, 4_000, 90_000)]
    for seed in range(10):
        first, second = (mixture(sources, 8_000, 40_000, np.random.default_rng(seed)) for _ in range(2))
        assert torch.equal(first, second)
        assert first.shape == (40_000,)
        assert float(first.abs().max()) <= 1.0


@pytest.mark.parametrize("length", [1, 999, 1_000, 5_000])
def test_a_recording_of_any_length_fills_a_window(length: int) -> None:
    for seed in range(5):
        assert place(np.ones(length, np.float32), 1_000, np.random.default_rng(seed)).shape == (1_000,)


@pytest.mark.parametrize("producers", [0, 1, 2])
def test_blocks_do_not_depend_on_who_makes_them(folder: Path, store: Path, tagger: Tagger, producers: int) -> None:
    blocks = Blocks([store], ["elsewhere"], folder / "tagger.pt", 0.25, 4, seed=5)
    found = list(made(blocks, range(2, 5), producers))
    alone = blocks[3]
    assert torch.equal(found[1].windows, alone.windows)
    assert not any(part.is_shared() for part in found[1]), "torch shares memory through /dev/shm, which may be small"
    torch.testing.assert_close(found[1].features, alone.features)
    assert not torch.equal(found[0].windows, found[1].windows)
    logits, _ = tagger.tag(alone.windows.float() / 32767.0)
    torch.testing.assert_close(alone.logits, logits)


def student_of(recipe: Recipe) -> Student:
    torch.manual_seed(0)
    return Student(Clap(recipe.checkpoint).audio_encoder, 384, 3)


def run(
    stage: Stage, folder: Path, store: Path, tagger: Tagger, out: Path, stop_after: int | None = None
) -> Student | None:
    places = [store]
    teacher = make_teacher(recipe(), {"all": store}, tagger)
    blocks = Blocks(places, ["elsewhere"], folder / "tagger.pt", stage.window_s, stage.block, stage.seed)
    judge = Judge(places, ["elsewhere"], teacher)
    return train_stage(stage, blocks, student_of(recipe()), teacher, out, judge, 0, 1, stop_after)


def same(one: Student | None, two: Student | None) -> bool:
    assert one is not None
    assert two is not None
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


@pytest.mark.parametrize("falls", [False, True])
def test_a_stage_that_was_stopped_goes_on_bit_for_bit(
    folder: Path, store: Path, tagger: Tagger, tmp_path: Path, falls: bool
) -> None:
    stage = STAGE.model_copy(update={"falls": falls})
    unbroken = run(stage, folder, store, tagger, tmp_path / "unbroken")
    assert run(stage, folder, store, tagger, tmp_path / "stopped", stop_after=2) is None
    resumed = run(stage, folder, store, tagger, tmp_path / "stopped")
    assert same(unbroken, resumed)
    lines = [json.loads(line) for line in (tmp_path / "stopped" / "turns.jsonl").read_text().splitlines()]
    assert [line["turn"] for line in lines] == [0, 1, 2, 3]
    assert all(-1 <= line["held_out_cosine"] <= 1 for line in lines)


def test_a_stage_of_constant_rate_can_be_made_longer_and_another_stage_is_refused(
    folder: Path, store: Path, tagger: Tagger, tmp_path: Path
) -> None:
    unbroken = run(STAGE, folder, store, tagger, tmp_path / "unbroken")
    run(STAGE.model_copy(update={"clips": 16}), folder, store, tagger, tmp_path / "longer")
    assert same(unbroken, run(STAGE, folder, store, tagger, tmp_path / "longer"))
    with pytest.raises(StateError, match="another stage"):
        run(STAGE.model_copy(update={"seed": 2}), folder, store, tagger, tmp_path / "longer")


def test_every_mixture_is_heard_twice(folder: Path, store: Path) -> None:
    blocks = Blocks([store], [], folder / "tagger.pt", 0.25, 8, seed=0)
    heard = [batches(mixtures, 8, 0, turn) for turn, mixtures in turns(blocks, 1, 0, 3, 0)]
    rows = [row.numpy().tobytes() for turn in heard for batch, _ in turn for row in batch.windows]
    assert [rows.count(row.numpy().tobytes()) for row in blocks[1].windows] == [2] * 8


def test_the_rate_rises_then_stays_or_falls_to_zero() -> None:
    constant = Stage(seed=0, clips=6_400, window_s=1, learning_rate=1.0, warm_up=640)
    falling = constant.model_copy(update={"falls": True, "warm_up": 0})
    assert [constant.rate(clips) for clips in (0, 576, 6_399)] == [pytest.approx(0.1), 1.0, 1.0]
    assert [falling.rate(clips) for clips in (0, 3_200, 6_400)] == [1.0, 0.5, 0.0]


def test_a_student_that_gives_what_is_wanted_loses_nothing() -> None:
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize
    wanted = Targets(unit(torch.randn(4, 8), dim=1), torch.randn(4, 6), torch.randn(4, 3))
    classes = unit(torch.randn(3, 8), dim=1)
    for part in losses(wanted, wanted, classes).values():
        torch.testing.assert_close(part, torch.zeros(()), atol=1e-6, rtol=0)
    other = Targets(*(-part for part in wanted))
    assert all(part > 0.1 for part in losses(other, wanted, classes).values())


def test_a_shift_loses_nothing() -> None:
    windows = torch.arange(12.0).reshape(2, 6)
    moved = shifted(windows, torch.Generator().manual_seed(1))
    torch.testing.assert_close(moved.sort(dim=1).values, windows)


def test_an_unknown_member_of_a_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("manifests: []\nepochs: 3\n")
    with pytest.raises(ValidationError, match="epochs"):
        read_recipe(path)


def test_the_final_projection_leads_single_recordings_where_they_should_go(store: Path) -> None:
    torch.manual_seed(0)
    base = student_of(recipe()).encoder.base.eval()
    recordings = Recordings([store], [])
    wanted = torch.nn.functional.normalize(torch.randn(len(recordings), 6), dim=1)
    close, far = (fit_projection(base, recordings, wanted, ridge) for ridge in (1e-6, 1e6))
    windows = [first_window(recordings.samples(row), FRONT_END.window_samples) for row in range(len(recordings))]
    with torch.inference_mode():
        features = base(floats(torch.stack(windows)))
        torch.testing.assert_close(close(features), wanted, atol=0.05, rtol=0)
        torch.testing.assert_close(far(features), wanted.mean(dim=0).expand(len(wanted), -1), atol=0.05, rtol=0)
