"""The events of a recording of any length, which is read as a stream: memory does not grow with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.audio import ChannelsCancel, Limits, Samples, Source, stream
from model.embed import embed_windows
from model.events import Event, EventFinder
from model.windows import StreamWindow, WindowCutter

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint
    from model.classify import LabelEmbeddings
    from model.prompts import Embeddings

BATCH = 32
"""Windows that are embedded together."""


@dataclass(frozen=True)
class Heard:
    """The events of a recording in the order of time, its embedding [d], and its length in seconds."""

    events: list[Event]
    clip: Embeddings
    duration_s: float


def listen_to(
    source: Source, checkpoint: Checkpoint, labels: LabelEmbeddings, thresholds: Sequence[float], hop_s: float | None
) -> Heard:
    """The events of `labels`, each with its threshold, in a recording. Raises AudioError, OSError."""
    channels: dict[int, int] = {}
    while True:
        try:
            return _listen(blocks_of(source, checkpoint, channels), checkpoint, labels, thresholds, hop_s)
        except ChannelsCancel as cancelled:
            channels[cancelled.part] = cancelled.channel


def blocks_of(source: Source, checkpoint: Checkpoint, channels: dict[int, int]) -> Iterator[Samples]:
    """The samples of a recording in blocks, at the checkpoint's rate. Its length is not bounded."""
    limits = Limits(max_seconds=math.inf, max_decoded_bytes=1 << 62)
    rate = checkpoint.config.front_end.sample_rate
    if isinstance(source, str | Path):
        return stream(Path(source), rate, limits, channels)
    return stream(memoryview(source), rate, limits, channels)


def _listen(
    blocks: Iterable[Samples],
    checkpoint: Checkpoint,
    labels: LabelEmbeddings,
    thresholds: Sequence[float],
    hop_s: float | None,
) -> Heard:
    front_end = checkpoint.config.front_end
    rate, window, own_hop = front_end.sample_rate, front_end.window_samples, front_end.window_hop_samples
    hop = own_hop if hop_s is None else round(hop_s * rate)
    sliding = WindowCutter(window, hop, front_end.padding)
    own = WindowCutter(window, own_hop, front_end.padding)
    finder = EventFinder(thresholds, window / rate, hop / rate)
    events: list[Event] = []
    total = np.zeros(checkpoint.config.joint_dim)

    def add(windows: Sequence[StreamWindow], mine: Sequence[StreamWindow]) -> None:
        """Score the windows at the hop, and add up the embeddings of the checkpoint's own."""
        nonlocal total
        if not windows and not mine:
            return
        todo = {each.start: each for each in (*windows, *mine)}  # a window of both is embedded once
        vectors = embed_windows(checkpoint, np.stack([each.samples for each in todo.values()]))
        rows = dict(zip(todo, vectors, strict=True))
        total += sum((rows[each.start] for each in mine), np.zeros_like(total))
        if windows:
            scores = labels.score(
                np.stack([rows[each.start] for each in windows]), checkpoint.logit_scale, "sigmoid"
            ).score
            events.extend(finder.feed([each.start / rate for each in windows], scores))

    for block in blocks:
        # Pieces are short, so that few windows exist at once whatever the block's length.
        for at in range(0, len(block), BATCH * hop):
            piece = block[at : at + BATCH * hop]
            add(list(sliding.cut(piece)), list(own.cut(piece)))
    add(list(sliding.finish()), list(own.finish()))
    duration_s = sliding.received / rate
    events.extend(finder.finish(duration_s))
    clip: Embeddings = (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)
    return Heard(sorted(events, key=lambda event: (event.start_s, event.label)), clip, duration_s)
