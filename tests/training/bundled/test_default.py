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
from training.bundled.blocks import Blocks, made
from training.bundled.default import Judge, Recipe, decode, make_teacher, read_recipe
from training.bundled.finish import AudioProjection, features, fit_projection
from training.bundled.heard import TAGGED, Kept
from training.bundled.mixture import mixture, place
from training.bundled.recordings import Recording, Recordings, WaveformStore, read_manifest
from training.bundled.stage import Stage, batches, train_stage, turns
from training.bundled.student import Heard, Student, Teacher, fitted, losses, shifted
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
    """The real front end and encoder, in a checkpoint that is small otherwise."""
    real = read_recipe().checkpoint
    parts = {name: getattr(real, name) for name in ("front_end", "audio_encoder", "audio_projection", "joint_dim")}
    tiny = TINY.model_copy(update=parts)
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
def test_blocks_do_not_depend_on_who_makes_them(store: Path, producers: int) -> None:
    blocks = Blocks([store], ["elsewhere"], 0.25, 4, seed=5)
    found = [block.windows for block in made(blocks, range(2, 5), producers)]
    assert torch.equal(found[1], blocks[3].windows)
    assert not found[1].is_shared(), "torch shares memory through /dev/shm, which may be small"
    assert not torch.equal(found[0], found[1])


def student_of(recipe: Recipe) -> Student:
    torch.manual_seed(0)
    return Student(Clap(recipe.checkpoint).audio_encoder)


def run(stage: Stage, store: Path, tagger: Tagger, out: Path, stop_after: int | None = None) -> Student | None:
    places = [store]
    teacher = make_teacher(recipe(), {"all": store}, tagger)
    blocks = Blocks(places, ["elsewhere"], stage.window_s, stage.block, stage.seed)
    judge = Judge(places, ["elsewhere"], teacher)
    return train_stage(stage, blocks, student_of(recipe()), teacher, out, judge, 0, 1, stop_after)


def same(one: Student | None, two: Student | None) -> bool:
    assert one is not None
    assert two is not None
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def unbroken(store: Path, tagger: Tagger, tmp_path_factory: pytest.TempPathFactory) -> Student | None:
    return run(STAGE, store, tagger, tmp_path_factory.mktemp("unbroken"))


def test_a_stage_that_was_stopped_goes_on_bit_for_bit(store: Path, tagger: Tagger, tmp_path: Path) -> None:
    stage = STAGE.model_copy(update={"falls": True, "forced": True})
    unbroken = run(stage, store, tagger, tmp_path / "unbroken")
    assert run(stage, store, tagger, tmp_path / "stopped", stop_after=2) is None
    resumed = run(stage, store, tagger, tmp_path / "stopped")
    assert same(unbroken, resumed)
    lines = [json.loads(line) for line in (tmp_path / "stopped" / "turns.jsonl").read_text().splitlines()]
    assert [line["turn"] for line in lines] == [0, 1, 2, 3]
    assert all(-1 <= line["held_out_cosine"] <= 1 for line in lines)


def test_a_stage_of_constant_rate_can_be_made_longer_and_another_stage_is_refused(
    store: Path, tagger: Tagger, tmp_path: Path, unbroken: Student | None
) -> None:
    run(STAGE.model_copy(update={"clips": 16}), store, tagger, tmp_path / "longer")
    assert same(unbroken, run(STAGE, store, tagger, tmp_path / "longer"))
    with pytest.raises(StateError, match="another stage"):
        run(STAGE.model_copy(update={"seed": 2}), store, tagger, tmp_path / "longer")


def test_every_mixture_is_heard_twice(store: Path) -> None:
    blocks = Blocks([store], [], 0.25, 8, seed=0)
    heard = [batches(mixtures, 8, 0, turn) for turn, mixtures in turns(blocks, 1, 0, 3, 0)]
    rows = [row.numpy().tobytes() for turn in heard for batch, _ in turn for row in batch]
    assert [rows.count(row.numpy().tobytes()) for row in blocks[1].windows] == [2] * 8


def test_the_rate_rises_then_stays_or_falls_to_zero() -> None:
    constant = Stage(seed=0, clips=6_400, window_s=1, learning_rate=1.0, warm_up=640)
    falling = constant.model_copy(update={"falls": True, "warm_up": 0})
    assert [constant.rate(clips) for clips in (0, 576, 6_399)] == [pytest.approx(0.1), 1.0, 1.0]
    assert [falling.rate(clips) for clips in (0, 3_200, 6_400)] == [1.0, 0.5, 0.0]


@pytest.fixture(scope="module")
def teacher(store: Path, tagger: Tagger) -> Teacher:
    return make_teacher(recipe(), {"all": store}, tagger)


def sounds(count: int) -> torch.Tensor:
    return torch.randn(count, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1


def test_a_student_that_gives_what_is_wanted_loses_nothing(teacher: Teacher) -> None:
    heard = teacher.hear(sounds(3))
    for part in losses(heard, heard, teacher).values():
        torch.testing.assert_close(part, torch.zeros(()), atol=1e-6, rtol=0)
    other = Heard([-layer for layer in heard.layers], -heard.embeddings)
    assert all(part > 0.1 for part in losses(other, heard, teacher).values())


def test_the_teacher_hears_windows_of_a_large_batch_as_it_hears_them_alone(teacher: Teacher, tagger: Tagger) -> None:
    windows = sounds(TAGGED + 1)
    together, alone = teacher.hear(windows), teacher.hear(windows[-1:])
    torch.testing.assert_close(together.embeddings[-1:], alone.embeddings, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.layers[-1].mean(dim=(2, 3)), tagger.tag(windows)[1])


def test_a_students_layers_are_the_teachers_in_fewer_frames(teacher: Teacher) -> None:
    windows, student = sounds(2), student_of(recipe())
    own, heard = student(windows), teacher.hear(windows)
    for layer, wanted in zip(own.layers, heard.layers, strict=True):
        assert layer.shape[:3] == wanted.shape[:3]
        assert layer.shape[3] <= wanted.shape[3]
        assert fitted(wanted, layer.shape[3]).shape == layer.shape


def test_a_forced_layer_learns_from_its_own_error_alone(teacher: Teacher) -> None:
    windows, student = sounds(2), student_of(recipe())
    heard = teacher.hear(windows)
    given = student.forced(windows, heard).layers
    (given[5] - fitted(heard.layers[5], given[5].shape[3])).square().mean().backward()
    learning = [any(p.grad is not None for p in layer.parameters()) for layer in student.base.features]
    assert learning == [number == 5 for number in range(len(learning))]


def test_a_student_of_another_kind_is_refused() -> None:
    encoder = Clap(TINY).audio_encoder
    encoder.base = torch.nn.Identity()  # type: ignore[assignment]
    with pytest.raises(TypeError, match="mobilenet"):
        Student(encoder)


def test_a_shift_loses_nothing() -> None:
    windows = torch.arange(12.0).reshape(2, 6)
    moved = shifted(windows, torch.Generator().manual_seed(1))
    torch.testing.assert_close(moved.sort(dim=1).values, windows)


def test_an_unknown_member_of_a_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("manifests: []\nepochs: 3\n")
    with pytest.raises(ValidationError, match="epochs"):
        read_recipe(path)


def test_the_projection_learns_where_recordings_should_go(store: Path) -> None:
    student, recordings = student_of(recipe()).eval(), Recordings([store], [])
    found = features(student.base, recordings)
    assert found.shape == (5, 384)
    wanted = torch.nn.functional.normalize(torch.randn(len(found), 512), dim=1)
    before = student.embed(found)
    fit_projection(student.encoder.projection, found, wanted, AudioProjection(steps=50))
    closer = (student.embed(found) * wanted).sum(dim=1) - (before * wanted).sum(dim=1)
    assert (closer > 0.1).all()
