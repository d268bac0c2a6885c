"""Stage two of the default checkpoint: a compact encoder, from random weights, learns to hear what the tagger hears.

Three losses on the pool's mixtures: the soft-caption cross-entropy of stage one, the cosine to stage one's embedding
of the same mixture, and the distance to the tagger's own features (through a linear layer that is thrown away).
Only outputs of the tagger are used; none of its weights are.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.clap import AudioEncoder
from training.bundled.align import Alignment, soft_cross_entropy
from training.bundled.pool import Pool
from training.tagging.phrases import PhraseBank

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudentSettings:
    steps: int = 4_000
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    caption_loss: float = 1.0
    embedding_loss: float = 5.0
    feature_loss: float = 1.0
    held_out: int = 512
    save_every: int = 200
    seed: int = 0


def mask_spectrogram(mel: Tensor, generator: torch.Generator) -> Tensor:
    """SpecAugment (Park et al. 2019) on [batch, frames, mel]: a stripe of up to an eighth of each axis, per clip."""
    batch, frames, bins = mel.shape
    for axis, size in ((1, frames), (2, bins)):
        width = torch.randint(0, size // 8 + 1, (batch, 1), generator=generator)
        start = (torch.rand(batch, 1, generator=generator) * (size - width)).long()
        place = torch.arange(size)[None]
        stripe = (place >= start) & (place < start + width)
        mel = mel.masked_fill(stripe.unsqueeze(2 if axis == 1 else 1), 0.0)
    return mel


def shift(windows: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate each window [batch, samples] in time: what is heard stays the same."""
    offset = int(torch.randint(0, windows.shape[1], (1,), generator=generator))
    return windows.roll(offset, dims=1)


class Student(nn.Module):
    """The encoder in training, with the layer that reads the tagger's features from its own."""

    def __init__(self, encoder: AudioEncoder, feature_size: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.features = nn.Linear(encoder.base.embedding_dim, feature_size)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Windows [batch, samples] -> embeddings [batch, joint_dim] of norm 1, predicted tagger features."""
        own = self.encoder.base(windows)
        return F.normalize(self.encoder.projection(own), dim=-1), self.features(own)


class Targets:
    """What the student should give for each mixture of a pool, computed once."""

    def __init__(self, pool: Pool, alignment: Alignment, weights: Tensor) -> None:
        self.weights = weights
        self.embeddings = alignment.embed_audio(pool.features)
        mean, spread = pool.features.mean(dim=0), pool.features.std(dim=0).clamp(min=1e-4)
        self.features = (pool.features - mean) / spread


def train_student(
    student: Student,
    pool: Pool,
    targets: Targets,
    alignment: Alignment,
    bank: PhraseBank,
    settings: StudentSettings,
    folder: Path,
) -> None:
    """Train in place; writes a resumable state and one JSON line a step into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    student.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.05  # EfficientAT's 0.01 trails behind in a run this short
    decay = [p for p in student.parameters() if p.ndim > 1]
    plain = [p for p in student.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate)
    state = folder / "state.pt"
    first = 0
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.08
    )
    if state.exists():
        saved = torch.load(state, weights_only=True)
        student.load_state_dict(saved["student"])
        optimiser.load_state_dict(saved["optimiser"])
        generator.set_state(saved["generator"])
        first = saved["step"]
        schedule.load_state_dict(saved["schedule"])
        log.info("resumed at step %d", first)
    scale = alignment.logit_scale.exp().clamp(max=100)
    train_rows = len(pool) - settings.held_out
    masking = student.encoder.base.logmel_extractor.register_forward_hook(
        lambda _module, _inputs, mel: mask_spectrogram(mel, generator) if student.training else mel
    )
    with (folder / "steps.jsonl").open("a", encoding="utf-8") as lines:
        for step in range(first, settings.steps):
            started = time.perf_counter()
            rows = torch.randint(train_rows, (settings.batch,), generator=generator)
            embeddings, features = student(shift(pool.waveforms(rows), generator))
            text = alignment.embed_text(bank.draw(generator))
            caption = soft_cross_entropy(scale * embeddings @ text.T, targets.weights[rows])
            embedding = 1 - (embeddings * targets.embeddings[rows]).sum(dim=1).mean()
            feature = F.smooth_l1_loss(features, targets.features[rows])
            loss = (
                settings.caption_loss * caption + settings.embedding_loss * embedding + settings.feature_loss * feature
            )
            if not torch.isfinite(loss):
                raise FloatingPointError(f"loss {loss.item()} at step {step}")
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            row = {
                "step": step,
                "loss": loss.item(),
                "caption": caption.item(),
                "cosine": 1 - embedding.item(),
                "feature": feature.item(),
                "seconds": time.perf_counter() - started,
            }
            lines.write(json.dumps(row) + "\n")
            lines.flush()
            if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
                cosine = held_out_cosine(student, pool, targets)
                log.info("step %d loss %.3f held-out cosine %.3f", step + 1, loss.item(), cosine)
                saved = {
                    "student": student.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    "generator": generator.get_state(),
                    "step": step + 1,
                }
                partial = state.with_suffix(".partial")
                torch.save(saved, partial)
                partial.rename(state)
    masking.remove()


@torch.inference_mode()
def held_out_cosine(student: Student, pool: Pool, targets: Targets, rows: int = 256) -> float:
    """Mean cosine of the student's and the target embedding over mixtures it was not trained on."""
    student.eval()
    last = torch.arange(len(pool) - rows, len(pool))
    cosines = [(student(pool.waveforms(part))[0] * targets.embeddings[part]).sum(dim=1) for part in last.split(64)]
    student.train()
    return float(np.mean(torch.cat(cosines).numpy()))
