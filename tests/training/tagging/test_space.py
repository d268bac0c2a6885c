"""The joint space of a tagger's own knowledge."""

from __future__ import annotations

import torch

from training.tagging.space import JointSpace, caption_weights, whitening


def test_whitened_features_meet_a_class_in_its_logit_less_the_mean() -> None:
    torch.manual_seed(0)
    hidden, row = torch.randn(50, 6) @ torch.randn(6, 6), torch.randn(6)
    share = torch.rand(50)
    share /= share.sum()
    mean, root, inverse_root = whitening(hidden, share, shrinkage=1e-7)
    whitened = (hidden - mean) @ inverse_root
    torch.testing.assert_close((whitened * share[:, None]).T @ whitened, torch.eye(6), atol=1e-2, rtol=0)
    logits = hidden @ row
    torch.testing.assert_close(whitened @ (root @ row), logits - share @ logits, atol=1e-2, rtol=1e-2)


def test_the_recordings_of_a_caption_weigh_together_as_much_as_those_of_another() -> None:
    torch.testing.assert_close(caption_weights(["a", "a", "a", "a", "b"]), torch.tensor([1.0, 1.0, 1.0, 1.0, 4.0]) / 8)


def test_an_embedding_is_a_direction_and_classes_share_no_mean() -> None:
    torch.manual_seed(0)
    head = {
        "hidden.weight": torch.randn(8, 5),
        "hidden.bias": torch.randn(8),
        "classes.weight": torch.randn(3, 8),
        "classes.bias": torch.randn(3),
    }
    features = torch.randn(40, 5)
    space = JointSpace.fit(head, features, ["a", "b"] * 20, shrinkage=0.3)
    torch.testing.assert_close(space.embed(features).norm(dim=1), torch.ones(40))
    torch.testing.assert_close(space.classes.norm(dim=1), torch.ones(3))
