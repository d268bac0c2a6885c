"""The contrastive loss by itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from training.loop.loss import ContrastiveLoss

DISTINCT = torch.arange(6)


def embeddings(seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_of_distinct_pairs_it_is_symmetric_cross_entropy() -> None:
    audio, text, scale = embeddings(0), embeddings(1), torch.tensor(9.0)
    logits = scale * audio @ text.T
    expected = 0.5 * (F.cross_entropy(logits, DISTINCT) + F.cross_entropy(logits.T, DISTINCT))
    torch.testing.assert_close(ContrastiveLoss()(audio, text, scale, DISTINCT, DISTINCT), expected)


def test_pairs_of_one_recording_are_no_negatives_of_each_other() -> None:
    audio, scale = embeddings(0), torch.tensor(9.0)
    audio[3] = audio[1]
    recordings = torch.tensor([0, 1, 2, 1, 4, 5])
    near, far = embeddings(1), embeddings(1)
    # Another caption of the recording may be as near as it likes, and nothing changes for the first.
    near[3] = near[1]
    losses = [ContrastiveLoss()(audio[:3], text[:3], scale, recordings[:3], DISTINCT[:3]) for text in (near, far)]
    assert losses[0] == losses[1]
    grown = near.clone().requires_grad_()
    loss = ContrastiveLoss()
    rows = torch.tensor([1, 3])
    value = loss(audio[rows], grown[rows], scale, recordings[rows], DISTINCT[rows])
    assert float(value.detach()) == 0.0  # nothing but each other, so nothing to tell apart


def test_pairs_of_one_caption_are_no_negatives_of_each_other() -> None:
    audio, text, captions = embeddings(0), embeddings(1), torch.tensor([7, 7])
    value = ContrastiveLoss()(audio[:2], text[:2], torch.tensor(9.0), DISTINCT[:2], captions)
    assert float(value) == 0.0


def test_excluded_pairs_take_no_gradient_from_each_other() -> None:
    text = embeddings(1).requires_grad_()
    audio, recordings = embeddings(0), torch.tensor([0, 0, 2, 3, 4, 5])
    logits = 9.0 * audio @ text.T
    excluded = torch.zeros(6, 6, dtype=torch.bool)
    excluded[0, 1] = excluded[1, 0] = True
    expected = 0.5 * (
        F.cross_entropy(logits.masked_fill(excluded, -torch.inf), DISTINCT)
        + F.cross_entropy(logits.T.masked_fill(excluded, -torch.inf), DISTINCT)
    )
    torch.testing.assert_close(ContrastiveLoss()(audio, text, torch.tensor(9.0), recordings, DISTINCT), expected)
    loss = ContrastiveLoss()(audio, text, torch.tensor(9.0), recordings, DISTINCT)
    [gradient] = torch.autograd.grad(loss, text)
    assert bool(torch.isfinite(gradient).all())
