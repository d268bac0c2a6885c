"""Retrieval: find the recording for a caption and the captions for a recording (Clotho, AudioCaps).

Recall at k: the share of queries with a right answer among the first k. mAP@10 as in DCASE's language-based retrieval:
the sum of the precision at each right answer among the first ten, divided by the number of right answers possible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.embeddings import Encoded
from evaluation.layouts import table
from evaluation.metrics import Array, Truth
from evaluation.task import Clip, LayoutError, Listing, indented, roots
from model.checkpoint import Checkpoint
from model.embed import embed_prompts

CUTS = (1, 5, 10)
CUT_NAMES = (*(f"R@{k}" for k in CUTS), "mAP@10")
Captions = dict[Path, tuple[str, ...]]


@dataclass(frozen=True)
class CaptionSet:
    """A data set of recordings with captions. `official`: the number of recordings of the complete test set."""

    name: str
    title: str
    layout: str
    read: Callable[[Path], Captions]
    official: int

    def open(self, *folders: Path) -> CaptionedClips:
        """Find the recordings in or under `folders`. Raises LayoutError where fewer than two exist."""
        for root in roots(folders):
            if captions := self.read(root):
                listing = Listing()
                found = {path: listing.find(path) for path in captions}
                there = {path: texts for name, texts in captions.items() if (path := found[name]) is not None}
                missing = tuple(name.name for name, path in found.items() if path is None)
                if len(there) < 2:
                    raise LayoutError(
                        f"{self.title} in {root}: {len(there)} of its {len(captions):,} recordings is there"
                    )
                return CaptionedClips(self, tuple(Clip(path, texts) for path, texts in there.items()), missing)
        places = ", ".join(map(str, folders))
        raise LayoutError(f"{places} does not hold {self.title}; expected\n{indented(self.layout)}")


@dataclass(frozen=True)
class CaptionedClips:
    """Clips whose labels are their captions."""

    task: CaptionSet
    clips: tuple[Clip, ...]
    missing: tuple[str, ...]

    @property
    def partial(self) -> str:
        count, official = len(self.clips), self.task.official
        return f"{count:,} of {official:,} recordings" if count < official else ""


def read_clotho(root: Path) -> Captions:
    path = root / "clotho_captions_evaluation.csv"
    if not path.exists():
        return {}
    return {
        root / "evaluation" / row["file_name"]: tuple(row[f"caption_{number}"] for number in range(1, 6))
        for row in table(path)
    }


def read_audiocaps(root: Path) -> Captions:
    path = root / "test.csv"
    if not path.exists() or not (root / "audio").is_dir():
        return {}
    captions: dict[Path, list[str]] = {}
    for row in table(path):
        name = f"{row['youtube_id']}_{row['start_time']}.wav"
        captions.setdefault(root / "audio" / name, []).append(row["caption"])
    return {path: tuple(texts) for path, texts in captions.items()}


CAPTION_SETS = {
    one.name: one
    for one in (
        CaptionSet(
            "clotho",
            "Clotho",
            """clotho_captions_evaluation.csv    file_name,caption_1,…,caption_5
evaluation/Santa Motor.wav …""",
            read_clotho,
            1_045,
        ),
        CaptionSet(
            "audiocaps",
            "AudioCaps",
            """test.csv                          audiocap_id,youtube_id,start_time,caption
audio/7fmOlUlwoNg_20.wav …        youtube_id and start_time""",
            read_audiocaps,
            975,
        ),
    )
}


@dataclass(frozen=True)
class Retrieval:
    """`figures` by direction (`text to audio`, `audio to text`) and name (R@1, R@5, R@10, mAP@10)."""

    task: str
    title: str
    recordings: int
    captions: int
    figures: dict[str, dict[str, float]]
    partial: str
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]


def ranked_truth(similarity: Array, truth: Truth) -> Truth:
    """Whether the answers to each query, best first, are right. Both [queries, answers]."""
    order = np.argsort(-similarity, axis=1, kind="stable")
    return np.take_along_axis(truth, order, axis=1)


def recall_at(right: Truth, k: int) -> float:
    """Share of queries with a right answer among the first `k` of `ranked_truth`."""
    return float(right[:, :k].any(axis=1).mean())


def average_precision_at(right: Truth, k: int) -> float:
    """Mean over queries of the average precision of the first `k` answers. A query without a right answer gives 0."""
    first = right[:, :k]
    precision = np.cumsum(first, axis=1) / np.arange(1, first.shape[1] + 1)
    possible = np.minimum(right.sum(axis=1), k)
    return float(((precision * first).sum(axis=1) / np.maximum(possible, 1)).mean())


def retrieval(checkpoint: Checkpoint, found: CaptionedClips, encoded: Encoded) -> Retrieval:
    """Both directions over the encoded recordings and all of their captions, without a prompt."""
    captions = [caption for clip in encoded.clips for caption in clip.labels]
    owners = np.repeat(np.arange(len(encoded.clips)), [len(clip.labels) for clip in encoded.clips])
    similarity = embed_prompts(checkpoint, captions) @ encoded.joint.T
    truth = owners[:, None] == np.arange(len(encoded.clips))
    figures: dict[str, dict[str, float]] = {}
    for direction, right in (
        ("text to audio", ranked_truth(similarity, truth)),
        ("audio to text", ranked_truth(similarity.T, truth.T)),
    ):
        figures[direction] = {f"R@{k}": recall_at(right, k) for k in CUTS}
        figures[direction]["mAP@10"] = average_precision_at(right, 10)
    return Retrieval(
        found.task.name,
        found.task.title,
        len(encoded.clips),
        len(captions),
        figures,
        found.partial,
        found.missing,
        encoded.unreadable,
    )
