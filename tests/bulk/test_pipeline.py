"""Items to embeddings: in order, the same as alone, and one bad item costs one item."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bulk.item import Failure, Item, Place
from bulk.pipeline import Pipeline, Result
from bulk.readers import ReadersFailed
from bulk.setup import ReaderSetup
from bulk.sources import expand, file_item
from model.checkpoint import load as load_checkpoint
from model.classify import clip_embedding
from model.embed import clip_windows, embed_windows
from model.engine import Engine
from model.isolation import OutOfMemory
from model.native import Excerpt
from model.prompts import Embeddings
from model.windows import Samples
from tests.bulk.conftest import RATE, sound


@contextmanager
def pipeline(engine: object, readers: int = 1, **setup: Any) -> Iterator[Pipeline]:
    front_end = ENGINE[0].info.config.front_end
    with Pipeline(engine, ReaderSetup.of(front_end, **setup), readers) as running:  # type: ignore[arg-type]
        yield running


ENGINE: list[Engine] = []


@pytest.fixture(scope="module", autouse=True)
def _engine(engine: Engine) -> Iterator[None]:
    ENGINE.append(engine)
    yield
    ENGINE.clear()


def embeddings(results: Sequence[Result]) -> Embeddings:
    return np.stack([result.embedding for result in results if result.embedding is not None])


def test_results_are_in_the_order_of_the_items_and_as_without_a_pipeline(
    engine: Engine, recordings: Path, tiny_folder: Path
) -> None:
    items = list(expand([str(recordings / "b"), str(recordings / "a")]))
    with pipeline(engine, readers=2) as running:
        results = list(running.run(items))
    assert [result.item for result in results] == items
    checkpoint = load_checkpoint(tiny_folder)
    good = [result for result in results if result.failure is None]
    expected = [clip_embedding(embed_windows(checkpoint, clip_windows(r.item.location, checkpoint)[0])) for r in good]
    assert np.abs(embeddings(good) - np.stack(expected)).max() < 1e-5
    assert {Path(r.item.path).name: r.failure.reason for r in results if r.failure} == {
        "broken.wav": "unrecognised",
        "empty.flac": "empty",
        "page.mp3": "unrecognised",
    }
    durations = [result.duration_s for result in good]
    assert durations == pytest.approx([soundfile.info(result.item.location).duration for result in good])


def test_a_long_recording_is_read_in_pieces_to_the_same_embedding(
    engine: Engine, tmp_path: Path, tiny_folder: Path
) -> None:
    """Also one whose channels cancel out, which shows only at its end."""
    one = sound(0, 150.0)
    soundfile.write(tmp_path / "mono.wav", one, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "opposite.wav", np.stack([one, -one], axis=1), RATE, subtype="FLOAT")
    with pipeline(engine) as running:
        mono, opposite = running.run(expand([str(tmp_path)]))
    checkpoint = load_checkpoint(tiny_folder)
    expected = clip_embedding(embed_windows(checkpoint, clip_windows(tmp_path / "mono.wav", checkpoint)[0]))
    assert mono.embedding is not None
    assert opposite.embedding is not None
    assert np.abs(mono.embedding - expected).max() < 1e-5
    assert np.abs(opposite.embedding - expected).max() < 1e-5


def test_integers_at_another_rate_are_resampled_by_the_engine(
    engine: Engine, tmp_path: Path, tiny_folder: Path
) -> None:
    """One shorter than a window, one of several windows, and one that does not fit into a slot."""
    for name, seconds in (("short", 0.4), ("whole", 7.3), ("long", 100.0)):
        soundfile.write(tmp_path / f"{name}.flac", sound(0, seconds * 44_100 / RATE), 44_100, subtype="PCM_16")
    checkpoint = load_checkpoint(tiny_folder)
    with pipeline(engine) as running:
        results = list(running.run(expand([str(tmp_path)])))
    for result in results:
        expected = clip_embedding(embed_windows(checkpoint, clip_windows(result.item.location, checkpoint)[0]))
        assert result.embedding is not None
        assert np.abs(result.embedding - expected).max() < 1e-4
        assert result.duration_s == pytest.approx(soundfile.info(result.item.location).duration, abs=1e-3)


class Faulty:
    """The engine, with a model that fails on loud windows, and with memory for four windows."""

    def __init__(self, engine: Engine) -> None:
        self.dim, self.streams, self.batch_windows = engine.dim, engine.streams, 8
        self._engine = engine

    def embed_audio(self, windows: Sequence[Samples | Excerpt]) -> Embeddings:
        if len(windows) > 4:
            raise OutOfMemory("too many windows")
        if any(isinstance(window, np.ndarray) and np.abs(window).max() > 2 for window in windows):
            raise RuntimeError("too loud")
        return self._engine.embed_audio(windows)


def test_a_window_on_which_the_model_fails_costs_its_item(engine: Engine, recordings: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", 9 * sound(0, 3.0), RATE, subtype="FLOAT")
    items = [
        *expand([str(recordings / "a")]),
        file_item(tmp_path / "loud.wav"),
        *expand([str(recordings / "b/02.wav")]),
    ]
    with pipeline(engine) as running:
        good = list(running.run(items))
    with pipeline(Faulty(engine)) as running:
        results = list(running.run(items))
    assert [result.failure is not None for result in results] == [False] * 6 + [True, False]
    assert results[6].failure == Failure("model", "The model cannot embed this recording: RuntimeError: too loud")
    del results[6], good[6]
    assert np.abs(embeddings(results) - embeddings(good)).max() < 1e-5


class Counting:
    """The engine, and the sizes of its batches."""

    def __init__(self, engine: Engine) -> None:
        self.dim, self.streams, self.batch_windows = engine.dim, 2, 4
        self.sizes: list[int] = []
        self._engine = engine

    def embed_audio(self, windows: Sequence[Samples | Excerpt]) -> Embeddings:
        self.sizes.append(len(windows))
        return self._engine.embed_audio(windows)


def test_batches_are_full_until_nothing_is_left_to_read(
    engine: Engine, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulk.pipeline.FILL_S", 60.0)
    model = Counting(engine)
    with pipeline(model) as running:
        assert all(result.failure is None for result in running.run(2 * list(expand([str(recordings / "a")]))))
    assert [size for size in model.sizes if size < model.batch_windows][1:] == []
    assert len(model.sizes) > 3


def test_a_window_does_not_wait_for_its_batch_for_ever(engine: Engine, recordings: Path, tmp_path: Path) -> None:
    """The pipe is being read until this recording's result is there."""
    os.mkfifo(tmp_path / "pipe.wav")
    items = [*expand([str(recordings / "a/09.wav")]), file_item(tmp_path / "pipe.wav")]
    with pipeline(Counting(engine)) as running:
        results = running.run(items)
        assert next(results).failure is None
        (tmp_path / "pipe.wav").write_bytes(b"")
        assert next(results).failure is not None


def test_a_reader_that_dies_costs_the_item_that_it_reads(engine: Engine, recordings: Path, tmp_path: Path) -> None:
    """The item is a pipe that nobody writes to, so that the reader is on it for certain."""
    os.mkfifo(tmp_path / "pipe.wav")
    items = [file_item(tmp_path / "pipe.wav"), *expand([str(recordings / "a")])]
    with pipeline(engine) as running:
        victim = running._readers._processes[0].popen.pid
        threading.Timer(3.0, os.kill, (victim, signal.SIGSEGV)).start()
        results = list(running.run(items))
    assert results[0].failure == Failure("crashed", "The reader process ended with SIGSEGV.")
    assert [result.failure for result in results[1:]] == [None] * 6


def test_an_item_without_progress_is_given_up(engine: Engine, recordings: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    items = [
        *expand([str(recordings / "a")]),
        file_item(tmp_path / "pipe.wav"),
        *expand([str(recordings / "b/02.wav")]),
    ]
    with pipeline(engine, idle_s=3.0) as running:
        results = list(running.run(items))
    assert [result.failure and result.failure.reason for result in results] == [None] * 6 + ["timeout", None]


def test_a_run_that_is_stopped_ends_what_it_has_begun(engine: Engine, recordings: Path) -> None:
    items = 20 * list(expand([str(recordings / "a")]))
    stops: list[bool] = []
    with pipeline(engine) as running:
        results = []
        for result in running.run(items, lambda: bool(stops)):
            results.append(result)
            stops.append(True)
    assert [result.item for result in results] == items[: len(results)]
    assert 0 < len(results) < len(items)


@pytest.mark.parametrize(
    ("item", "setup", "reason"),
    [
        (Item("gone", Place.FILE, "/nowhere/gone.wav"), {}, "unreadable"),
        (Item("web", Place.WEB, "http://127.0.0.1:1/x.wav"), {}, "private_address"),
        (Item("large", Place.FILE, "a/11.wav"), {"max_bytes": 10}, "too_large"),
        (Item("long", Place.FILE, "a/11.wav"), {"max_seconds": 1.0}, "too_long"),
        (Item("cut", Place.TAR, "a/11.wav", 100, 1 << 30), {}, "cut_off"),
    ],
)
def test_each_error_has_a_reason(
    item: Item, setup: dict[str, Any], reason: str, engine: Engine, recordings: Path
) -> None:
    location = item.location if "://" in item.location else str(recordings / item.location)
    with pipeline(engine, **setup) as running:
        (result,) = running.run([Item(item.path, item.place, location, item.offset, item.size)])
    assert result.failure is not None
    assert result.failure.reason == reason
    assert result.failure.detail


def test_readers_that_cannot_start_end_the_run(
    engine: Engine, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr("sys.executable", "/bin/false")
    with pipeline(engine) as running, pytest.raises(ReadersFailed, match="status 1"):
        list(running.run(expand([str(recordings / "a")])))
