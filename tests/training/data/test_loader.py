"""The loader: the same batches whatever reads them, and none lost to a broken file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from model.text import Tokenizer
from tests.checkpoints import TINY, write_tokenizer
from tests.training.recordings import write_manifest, write_recordings
from training.data.loader import Batch, Segments, batches, caption_key
from training.data.manifest import Captioned, read_manifest
from training.data.sampler import Batches, Draw

ROOT = Path(__file__).parents[3]


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


SCRIPT = """
import sys
from pathlib import Path
from tests.training.data.test_loader import from_worker_processes
if __name__ == "__main__":
    from_worker_processes(Path(sys.argv[1]), int(sys.argv[2]))
"""


def from_worker_processes(folder: Path, count: int) -> None:
    """Read `count` batches of 29 MiB by a worker; a file in `folder` notes each."""
    front_end = TINY.front_end.model_copy(update={"window_s": 30.0})
    clips = read_manifest(write_recordings(folder / "data", 64))
    tokenizer = Tokenizer(write_tokenizer(folder / "vocabulary"), 16)
    segments = Segments(clips, front_end, seed=1)
    for number, batch in enumerate(batches(segments, Batches(64, 32, 1_000, 1), tokenizer, 1, 2)):
        (folder / f"{number}.batch").write_text(str(tuple(batch.windows.shape)))
        if number + 1 == count:
            break
        time.sleep(0.1)


@contextmanager
def script(*command: str, folder: Path, count: int) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = [*command, sys.executable, "-W", "ignore", str(folder / "script.py"), str(folder), str(count)]
    with subprocess.Popen(run, cwd=ROOT, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(300)
def test_batches_larger_than_dev_shm_are_read(tmp_path: Path) -> None:
    private = ["unshare", "--mount", "sh", "-c"]
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    if (
        shutil.which("unshare") is None
        or subprocess.run([*private, mount], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a small tmpfs over /dev/shm in a mount namespace of its own (root)")
    with script(*private, f'{mount} && exec "$@"', "sh", folder=tmp_path, count=6) as process:
        assert process.wait(240) == 0
    assert (tmp_path / "5.batch").read_text() == "(32, 240000)"


@pytest.mark.timeout(300)
def test_workers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    with script(folder=tmp_path, count=2_000) as process:
        until(lambda: (tmp_path / "0.batch").exists() or process.poll() is not None, 200)
        family = descendants(process.pid)
        assert len(family) >= 3  # the resource tracker, the fork server and a worker
        process.kill()
    until(lambda: not any(map(lives, family)), 60)


def descendants(pid: int) -> list[int]:
    parents = {int(path.parent.name): int(fields(path)[1]) for path in Path("/proc").glob("[0-9]*/stat")}
    children = [child for child, parent in parents.items() if parent == pid]
    return children + [one for child in children for one in descendants(child)]


def fields(stat: Path) -> list[str]:
    """The fields of a process' status from its state letter on; those of a dead process where it is gone."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", "0"]


def lives(pid: int) -> bool:
    return fields(Path(f"/proc/{pid}/stat"))[0] not in "XZ"


def until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
