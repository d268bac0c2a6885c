"""Stage one of the default checkpoint: bring the tagger's features and the text encoder into one space.

Both are frozen; a linear layer on each side is trained so that a mixture lies near the phrases of what the tagger
hears in it. The captions are soft: each mixture carries a distribution over the tagger's classes, and each step draws
a new phrase in a new template for every class.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.tagging.phrases import PhraseBank

log = logging.getLogger(__name__)


def caption_weights(logits: Tensor, generic: Tensor, prior_power: float, generic_weight: float) -> Tensor:
    """Tagger logits [n, classes] -> how much of the caption each class is, rows sum to 1.

    Probabilities over the class's own mean to the `prior_power`: a rare class that is heard at all says more than
    "speech" or "music" do; `generic` classes count `generic_weight`.
    """
    log_probability = F.logsigmoid(logits)
    log_prior = log_probability.exp().mean(dim=0).log()
    weight = torch.where(generic, math.log(generic_weight), 0.0)
    return (log_probability - prior_power * log_prior + weight).softmax(dim=1)


def soft_cross_entropy(logits: Tensor, weights: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy with soft targets: logits and weights [clips, classes] -> scalar.

    Rows are captions of a clip; columns, weighted by how much of the batch a class is, the clips of a caption.
    """
    audio_to_text = -(weights * logits.log_softmax(dim=1)).sum(dim=1).mean()
    share = weights.sum(dim=0)
    clips = weights / share.clamp(min=1e-6)
    text_to_audio = -(share / share.sum() * (clips * logits.log_softmax(dim=0)).sum(dim=0)).sum()
    return audio_to_text + 0.5 * text_to_audio


@dataclass(frozen=True)
class AlignmentSettings:
    steps: int = 2_000
    batch: int = 512
    learning_rate: float = 3e-3
    prior_power: float = 0.5
    generic_weight: float = 0.3
    text_anchor: float = 0.05
    seed: int = 0


class Alignment(nn.Module):
    """Linear maps of tagger features and of text features into the joint space, and the temperature."""

    def __init__(self, audio_features: int, text_features: int, mean_text: Tensor) -> None:
        super().__init__()
        self.audio = nn.Linear(audio_features, text_features)
        self.text = nn.Linear(text_features, text_features)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        # Text features of short prompts share a large mean; without it they spread, and the rest is kept as it is.
        nn.init.eye_(self.text.weight)
        with torch.no_grad():
            self.text.bias.copy_(-mean_text)

    def embed_audio(self, features: Tensor) -> Tensor:
        return F.normalize(self.audio(features), dim=-1)

    def embed_text(self, features: Tensor) -> Tensor:
        return F.normalize(self.text(features), dim=-1)


def align(features: Tensor, weights: Tensor, bank: PhraseBank, settings: AlignmentSettings) -> Alignment:
    """Train the two maps on features [n, d] with caption weights [n, classes]."""
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    mean, spread = features.mean(dim=0), features.std(dim=0).clamp(min=1e-4)
    standard = (features - mean) / spread
    model = Alignment(features.shape[1], bank.features.shape[1], bank.features.mean(dim=0))
    rate = settings.learning_rate
    groups = [
        {"params": [*model.audio.parameters(), model.logit_scale], "lr": rate},
        {"params": [*model.text.parameters()], "lr": rate * 0.1},
    ]
    optimiser = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [rate, rate * 0.1], total_steps=settings.steps)
    identity = torch.eye(bank.features.shape[1])
    for step in range(settings.steps):
        rows = torch.randint(len(standard), (settings.batch,), generator=generator)
        audio = model.embed_audio(standard[rows])
        text = model.embed_text(bank.draw(generator))
        loss = soft_cross_entropy(model.logit_scale.exp().clamp(max=100) * audio @ text.T, weights[rows])
        # Words no tag uses are placed by the text encoder alone: keep its geometry.
        anchor = (model.text.weight - identity).square().sum() / len(identity)
        optimiser.zero_grad()
        (loss + settings.text_anchor * anchor).backward()
        optimiser.step()
        schedule.step()
        if step % 250 == 0:
            log.info("alignment step %d loss %.3f scale %.1f", step, loss.item(), model.logit_scale.exp().item())
    with torch.no_grad():  # fold the standardisation into the map
        model.audio.weight.div_(spread)
        model.audio.bias.sub_(model.audio.weight @ mean)
    return model.requires_grad_(False)
