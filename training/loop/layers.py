"""The layers of an encoder's base in order, for rates that fall with depth and for recomputed or sharded layers."""

from __future__ import annotations

from torch import nn
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.clap.modeling_clap import ClapAudioLayer
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.models.roberta.modeling_roberta import RobertaLayer

from model.cnn14 import ConvBlock
from model.mobilenet import InvertedResidual

LAYERS = (ConvBlock, InvertedResidual, ClapAudioLayer, BertLayer, RobertaLayer, GPT2Block)


def layers(base: nn.Module) -> list[nn.Module]:
    """The repeated blocks of an encoder's base, from input to output."""
    return [module for module in base.modules() if isinstance(module, LAYERS)]


def depths(base: nn.Module) -> dict[str, int]:
    """The depth of each parameter by its name: 0 before the first layer, n in the n-th, one more after the last.

    What lies between two layers has the depth of the one before it.
    """
    place = {f"{name}.": number for number, (name, _) in enumerate(_named(base), 1)}
    found: dict[str, int] = {}
    reached = 0
    for name, _ in base.named_parameters():
        inside = next((number for prefix, number in place.items() if name.startswith(prefix)), None)
        if inside is not None:
            reached = max(reached, inside)
        found[name] = reached if inside is None else inside
        if inside is None and reached == len(place):
            found[name] = len(place) + 1
    return found


def _named(base: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in base.named_modules() if isinstance(module, LAYERS)]
