"""Naming accuracy: each held-out recording is classified among the captions of its collection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

SCALES = torch.logspace(0.5, 2, 61)
"""Candidates for the temperature scale, 3 to 100."""


def collections(rows: Sequence[dict[str, str]]) -> list[tuple[list[int], list[str]]]:
    """For each collection with at least two captions: its captioned rows, and the distinct captions."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row["caption"]:
            found[row["collection"]].append(number)
    named = [(numbers, sorted({rows[number]["caption"] for number in numbers})) for numbers in found.values()]
    return [(numbers, captions) for numbers, captions in named if len(captions) > 1]


def logits(rows: Sequence[dict[str, str]], audio: Tensor, texts: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """For each collection: cosines [n, captions] with its captions, and the indices [n] of the right ones."""
    found = []
    for numbers, captions in collections(rows):
        right = torch.tensor([captions.index(rows[number]["caption"]) for number in numbers])
        found.append((audio[numbers] @ torch.stack([texts[caption] for caption in captions]).T, right))
    return found


def accuracy(similarities: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Mean over collections of the mean recall over captions."""
    collections = []
    for similarity, right in similarities:
        hit = (similarity.argmax(dim=1) == right).float()
        collections.append(torch.stack([hit[right == caption].mean() for caption in right.unique()]).mean())
    return float(torch.stack(collections).mean())


def best_scale(similarities: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The scale with the lowest cross-entropy, averaged over collections."""

    def loss(scale: Tensor) -> Tensor:
        parts = [torch.nn.functional.cross_entropy(scale * cosine, right) for cosine, right in similarities]
        return torch.stack(parts).mean()

    return float(SCALES[int(torch.stack([loss(scale) for scale in SCALES]).argmin())])
