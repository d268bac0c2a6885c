"""The loader: the same batches whatever reads them, and none lost to a broken file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.text import Tokenizer
from tests.checkpoints import TINY, write_tokenizer
from tests.training.recordings import write_manifest, write_recordings
from training.data.loader import Batch, Segments, batches, caption_key
from training.data.manifest import Captioned, read_manifest
from training.data.sampler import Batches, Draw


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return Tokenizer(write_tokenizer(tmp_path / "vocabulary"), 16)


def read(clips: list[Captioned], tokenizer: Tokenizer, workers: int, start: int = 0) -> list[Batch]:
    segments = Segments(clips, TINY.front_end, seed=1)
    return list(batches(segments, Batches(len(segments), 4, 2, 1, start=start), tokenizer, workers, 2))


def test_the_number_of_workers_changes_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    clips = read_manifest(write_recordings(tmp_path / "data", 12))
    for alone, helped in zip(read(clips, tokenizer, 0), read(clips, tokenizer, 2), strict=True):
        assert torch.equal(alone.windows, helped.windows)
        assert torch.equal(alone.tokens["input_ids"], helped.tokens["input_ids"])
        assert alone.names == helped.names


def test_a_resumed_loader_gives_what_was_left(tmp_path: Path, tokenizer: Tokenizer) -> None:
    clips = read_manifest(write_recordings(tmp_path / "data", 12))
    for whole, rest in zip(read(clips, tokenizer, 0)[2:], read(clips, tokenizer, 0, start=2), strict=True):
        assert torch.equal(whole.windows, rest.windows)


def test_a_segment_differs_from_epoch_to_epoch(tmp_path: Path) -> None:
    segments = Segments(read_manifest(write_recordings(tmp_path, 1, seconds=3)), TINY.front_end, seed=0)
    first, second = (torch.from_numpy(segments[Draw(epoch, 0)].window) for epoch in (0, 1))
    assert not torch.equal(first, second)


def test_a_broken_file_is_replaced_and_named(tmp_path: Path, tokenizer: Tokenizer) -> None:
    clips = read_manifest(write_recordings(tmp_path / "data", 12))
    clips[3].audio.write_bytes(b"RIFF")
    found = read(clips, tokenizer, 0)
    assert all(len(batch) == 4 and torch.isfinite(batch.windows).all() for batch in found)
    assert {name for batch in found for name in batch.broken} == {str(clips[3].audio)}
    assert not any(clips[3].name in batch.names for batch in found)


def test_with_nothing_readable_the_batch_says_so_and_is_silent(tmp_path: Path) -> None:
    rows = [{"audio": f"{number}.wav", "caption": "x"} for number in range(4)]
    segments = Segments(read_manifest(write_manifest(tmp_path / "m.jsonl", rows)), TINY.front_end, seed=0)
    item = segments[Draw(0, 0)]
    assert not item.window.any()
    assert len(item.broken) == 4


def test_pairs_of_one_recording_or_caption_share_a_key(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_recordings(tmp_path / "data", 2)
    rows = [{"audio": "0.wav", "captions": ["a dog", "a cat"]}, {"audio": "1.wav", "captions": ["A dog", "rain"]}]
    [batch, _] = read(read_manifest(write_manifest(tmp_path / "data" / "m.jsonl", rows)), tokenizer, 0)
    assert sorted(batch.recordings.tolist()) == [0, 0, 1, 1]
    assert len(set(batch.captions.tolist())) == 3
    assert caption_key("a dog") == caption_key("A Dog") != caption_key("a cat")
