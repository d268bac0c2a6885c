"""One step's gradients, on any number of gloo ranks: what `test_gradients` compares."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from model.clap import Clap
from model.config import ClapConfig, Cnn14Config, HtsatConfig, MobileNetConfig, ProjectionConfig
from tests.checkpoints import TINY
from training.data.loader import Batch
from training.loop.accumulate import accumulate, dropout_seed
from training.loop.loss import ContrastiveLoss, SigmoidLoss
from training.loop.ranks import Ranks
from training.loop.sharding import gathered, shard
from training.loop.towers import Towers, checkpoint_activations
from training.recipe import Freeze

PAIRS = 32


@dataclass(frozen=True)
class Setting:
    """How one step is computed. `drop`: batch norm by the batch and dropout on, as in training."""

    world: int = 1
    local: bool = False
    chunks: int = 1
    drop: bool = False
    encoder: str = "mobilenet"
    freeze_audio: bool = False
    freeze_text: bool = False
    recompute: bool = False
    sigmoid: bool = False
    sharded: bool = False


def towers(setting: Setting) -> Towers:
    """The same weights on every call, in double precision, so that only a wrong formula makes a difference."""
    torch.manual_seed(0)
    network = {
        "mobilenet": MobileNetConfig(width=0.1),
        "cnn14": Cnn14Config(embedding_dim=32, classes=7),
        "htsat": HtsatConfig(width=16, stage_depths=(1, 1), stage_heads=(2, 2), image_size=64),
    }[setting.encoder]
    projection = ProjectionConfig(kind="residual", dropout=0.5 if setting.drop else 0.0)
    front_end = TINY.front_end.model_copy(update={"hop_length": 200, "mel_bins": 32})
    config: ClapConfig = TINY.model_copy(
        update={
            "front_end": front_end,
            "audio_encoder": network,
            "audio_projection": projection,
            "text_projection": projection,
        }
    )
    clap = Clap(config)
    for encoder in (clap.audio_encoder, clap.caption_encoder):
        encoder.double()
    clap.audio_encoder.base.logmel_extractor.float().register_forward_hook(lambda _module, _in, mel: mel.double())
    made = Towers(clap, Freeze(audio=setting.freeze_audio, text=setting.freeze_text), biased=setting.sigmoid).train(
        setting.drop
    )
    if setting.recompute:
        checkpoint_activations(made.clap)
    return made


def pairs() -> Batch:
    """Thirty-two pairs, two recordings of which have two captions and two of which share one."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 40, (PAIRS, 6), generator=generator)
    mask = torch.ones_like(ids)
    recordings, captions = torch.arange(PAIRS), torch.arange(PAIRS)
    recordings[9], recordings[12], captions[5] = recordings[2], recordings[13], captions[10]
    windows = torch.randn(PAIRS, 8_000, generator=generator) * 0.1
    names = tuple(map(str, range(PAIRS)))
    return Batch(windows, {"input_ids": ids, "attention_mask": mask}, recordings, captions, names, {})


def part(batch: Batch, rows: slice) -> Batch:
    return replace(
        batch,
        windows=batch.windows[rows],
        tokens={name: ids[rows] for name, ids in batch.tokens.items()},
        recordings=batch.recordings[rows],
        captions=batch.captions[rows],
        names=batch.names[rows],
    )


def gradients(setting: Setting, ranks: Ranks) -> dict[str, Tensor]:
    """This rank's gradients of its share of `pairs`, and the batch-norm statistics afterwards."""
    made = towers(setting)
    model: Towers | DistributedDataParallel = made
    if setting.sharded and ranks.world > 1:
        shard(made, ranks)
    elif ranks.world > 1:
        model = DistributedDataParallel(made)
    share = PAIRS // ranks.world
    mine = part(pairs(), slice(ranks.rank * share, (ranks.rank + 1) * share))
    loss = SigmoidLoss(ranks) if setting.sigmoid else ContrastiveLoss(ranks, setting.local)
    value, *_ = accumulate(model, mine, loss, lambda chunk: dropout_seed(0, 0, ranks.rank, chunk), setting.chunks)
    found = {name: p.grad for name, p in made.named_parameters() if p.grad is not None}
    found |= {name: buffer.clone() for name, buffer in made.named_buffers() if "running" in name}
    whole: dict[str, Tensor] = gathered(found, kept=True)
    return whole | {"loss": torch.tensor(ranks.sums([float(value)])[0] / ranks.world)}


def piecewise(world: int, chunks: int, setting: Setting) -> dict[str, Tensor]:
    """The same in one process and one graph: encoders piece by piece, with each piece's dropout, then the one loss."""
    made = towers(setting)
    share = PAIRS // world
    parts = []
    for rank in range(world):
        for chunk in range(chunks):
            size = share // chunks
            rows = slice(rank * share + chunk * size, rank * share + (chunk + 1) * size)
            torch.manual_seed(dropout_seed(0, 0, rank, chunk))
            piece = part(pairs(), rows)
            parts.append(made(piece.windows, piece.tokens)[:2])
    whole = pairs()
    audio, text = (torch.cat(side) for side in zip(*parts, strict=True))
    scale = made.clap.logit_scale.exp()
    value = (
        whole_sigmoid_loss(audio, text, scale, made.bias.value, whole)
        if made.bias is not None
        else ContrastiveLoss()(audio, text, scale, whole.recordings, whole.captions)
    )
    value.backward()
    found = {name: p.grad for name, p in made.named_parameters() if p.grad is not None}
    found |= {name: buffer.clone() for name, buffer in made.named_buffers() if "running" in name}
    return found | {"loss": value.detach()}


def whole_sigmoid_loss(audio: Tensor, text: Tensor, scale: Tensor, bias: Tensor, batch: Batch) -> Tensor:
    """SigLIP's formula as it is written, over all pairs at once."""
    sign = 2 * torch.eye(len(audio)) - 1
    alike = batch.recordings[:, None] == batch.recordings
    alike |= batch.captions[:, None] == batch.captions
    counted = ~alike | torch.eye(len(audio), dtype=torch.bool)
    terms = torch.log(torch.sigmoid(sign * (scale * audio.float() @ text.float().T + bias)))
    return -(terms * counted).sum() / len(audio)


def main(folder: str, settings: str) -> None:
    """Run by a rank's process: every setting of `settings`, into one file per rank."""
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    ranks = Ranks(rank, world)
    found = [gradients(Setting(**dict(row)), ranks) for row in torch.load(settings, weights_only=True)]
    torch.save(found, Path(folder) / f"rank-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
