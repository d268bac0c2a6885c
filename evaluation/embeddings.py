"""Embeddings of clips: threads read and encode in parallel; what is in the store is not computed again."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
from rich.progress import Progress

from evaluation.encoder import Encoder
from evaluation.store import Store
from evaluation.task import Clip
from model.audio import AudioError, Limits, read, resample
from model.classify import clip_embedding
from model.config import FrontEndConfig
from model.prompts import Embeddings
from model.windows import Samples, cut

READERS = 2
LIMITS = Limits(max_seconds=3_600, max_decoded_bytes=2 << 30)


class Cancelled(Exception):
    """The caller no longer wants the result."""


class TooFewRead(ValueError):
    """More than half of the clips cannot be read: a figure over the others would mislead."""


@dataclass(frozen=True)
class Encoded:
    """The clips that were read, in order: `joint` [n, joint_dim], `features` [n, features], a digest of each."""

    clips: tuple[Clip, ...]
    joint: Embeddings
    features: Embeddings
    digests: tuple[bytes, ...]
    unreadable: tuple[str, ...]
    computed: int
    """The number of clips that were not in the store."""

    def of(self, clips: Sequence[Clip]) -> Encoded:
        """The embeddings of those of `clips` that were read."""
        wanted = set(clips)
        rows = [row for row, clip in enumerate(self.clips) if clip in wanted]
        return Encoded(
            tuple(self.clips[row] for row in rows),
            self.joint[rows],
            self.features[rows],
            tuple(self.digests[row] for row in rows),
            self.unreadable,
            self.computed,
        )


@dataclass(frozen=True)
class Loaded:
    """A clip from disk: its windows [k, samples]; None if the store has its embedding, or `error` says why."""

    digest: bytes
    windows: Samples | None = None
    error: str = ""


def load(clip: Clip, front_end: FrontEndConfig, known: set[bytes]) -> Loaded:
    """Read one clip's bytes, and decode them unless their embedding is known. Never raises for a bad file."""
    try:
        data = clip.path.read_bytes()
    except OSError as error:
        return Loaded(b"", error=error.strerror or str(error))
    part = "" if clip.duration_s is None else f"{clip.start_s}+{clip.duration_s}"
    digest = hashlib.sha256(data + part.encode()).digest()[:16]
    if digest in known:
        return Loaded(digest)
    try:
        waveform = read(data, LIMITS)
    except AudioError as error:
        return Loaded(digest, error=str(error))
    samples = waveform.samples
    if clip.duration_s is not None:
        start = round(clip.start_s * waveform.rate)
        samples = samples[start : start + round(clip.duration_s * waveform.rate)]
    samples = resample(samples, waveform.rate, front_end.sample_rate)
    windows, _ = cut(samples, front_end.window_samples, front_end.window_hop_samples, front_end.padding)
    return Loaded(digest, windows)


def loaded(clips: Sequence[Clip], front_end: FrontEndConfig, known: set[bytes], ahead: int) -> Iterator[Loaded]:
    """Each clip in order. At most `ahead` are decoded in advance, so memory does not grow with the data set."""
    with ThreadPoolExecutor(READERS, "read") as readers:
        waiting: deque[Future[Loaded]] = deque()
        try:
            for clip in clips:
                waiting.append(readers.submit(load, clip, front_end, known))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def vectors_of(encoder: Encoder, batch: Sequence[tuple[bytes, Samples]]) -> list[tuple[bytes, Embeddings]]:
    """The vectors that are stored for each clip: its embedding, and the mean of its windows' features."""
    joint, features = encoder(np.concatenate([windows for _, windows in batch]))
    vectors, start = [], 0
    for digest, windows in batch:
        part = slice(start, start + len(windows))
        vectors.append((digest, np.concatenate([clip_embedding(joint[part]), features[part].mean(axis=0)])))
        start += len(windows)
    return vectors


@dataclass(frozen=True)
class LaneResult:
    """A lane's result for some clips: digest and error of each, and the new vectors."""

    found: list[tuple[bytes, str]]
    vectors: list[tuple[bytes, Embeddings]]


def encode_lane(encoder: Encoder, clips: Sequence[Clip], known: set[bytes], lock: Lock) -> LaneResult:
    """Read and encode clips, with at most a batch of windows and one clip in memory. The lanes share `known`."""
    front_end = encoder.checkpoint.config.front_end
    heard = LaneResult([], [])
    batch: list[tuple[bytes, Samples]] = []
    for clip in clips:
        one = load(clip, front_end, known)
        heard.found.append((one.digest, one.error))
        if one.windows is None:
            continue
        with lock:
            if one.digest in known:
                continue
            known.add(one.digest)
        batch.append((one.digest, one.windows))
        if sum(len(windows) for _, windows in batch) >= encoder.batch.size:
            heard.vectors.extend(vectors_of(encoder, batch))
            batch = []
    if batch:
        heard.vectors.extend(vectors_of(encoder, batch))
    return heard


def encode(
    encoder: Encoder,
    clips: Sequence[Clip],
    store: Store,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Encoded:
    """Embed every clip once. A clip's embedding does not depend on the others in its batch.

    Each lane reads a batch and encodes it while the samples are in its core's cache; lanes do not wait for each other.
    Raises TooFewRead where more than half of the clips can't be read, and Cancelled once `cancelled` returns true.
    """
    bar = progress.add_task("embedding", total=len(clips)) if progress else None
    joint_dim = encoder.checkpoint.config.joint_dim
    known, lock = store.digests(), Lock()
    digests: dict[int, bytes] = {}
    unreadable: list[str] = []
    computed = 0
    running: deque[tuple[int, Future[LaneResult]]] = deque()

    def finish() -> None:
        nonlocal computed
        if cancelled():
            for _, waiting in running:
                waiting.cancel()
            raise Cancelled
        start, future = running.popleft()
        heard = future.result()
        store.add(heard.vectors)
        computed += len(heard.vectors)
        for index, (digest, error) in enumerate(heard.found, start):
            if error:
                unreadable.append(f"{clips[index].name}: {error}")
            else:
                digests[index] = digest
        if progress and bar is not None:
            progress.advance(bar, len(heard.found))

    with encoder.running() as lanes:
        start = 0
        while start < len(clips):
            part = clips[start : start + encoder.batch.size]
            running.append((start, lanes.submit(encode_lane, encoder, part, known, lock)))
            start += len(part)
            if len(running) > 2 * encoder.lanes:
                finish()
        while running:
            finish()
    if len(digests) * 2 < len(clips) or not digests:
        raise TooFewRead(f"{len(unreadable):,} of {len(clips):,} clips can't be read; the first: {unreadable[0]}")
    vectors = np.stack([store.get(digest) for digest in digests.values()])
    return Encoded(
        tuple(clips[index] for index in digests),
        vectors[:, :joint_dim],
        vectors[:, joint_dim:],
        tuple(digests.values()),
        tuple(unreadable),
        computed,
    )
