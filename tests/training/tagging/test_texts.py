"""Which texts lead where, and how the text projection is taught."""

from __future__ import annotations

import torch

from model.clap import MlpProjection
from training.tagging.texts import Texts, caption_directions, train_text_projection


def test_captions_are_gathered_at_the_mean_of_their_recordings() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    places, names, counts = caption_directions(embeddings, ["rain", "rain", "a dog"])
    assert names == ["a dog", "rain"]
    torch.testing.assert_close(places, torch.tensor([[-1.0, 0.0], [0.5**0.5, 0.5**0.5]]))
    assert counts.tolist() == [1, 2]


def test_the_text_projection_learns_where_texts_lead_and_leaves_out_what_weighs_nothing() -> None:
    torch.manual_seed(0)
    projection = MlpProjection(8, 64, "gelu")
    inputs, targets = 5 + 3 * torch.randn(20, 8), torch.randn(20, 64)
    weights = torch.tensor([1.0, 0.0]).repeat(10)
    train_text_projection(projection, Texts(inputs, targets, weights), steps=300, seed=0)
    cosine = torch.cosine_similarity(projection(inputs), targets, dim=1)
    assert cosine[weights > 0].min() > 0.9
    assert cosine[weights == 0].mean() < 0.5
