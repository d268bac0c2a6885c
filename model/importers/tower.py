"""An audio encoder as the audio half of a CLAP that is still to be trained.

The text half is the packaged encoder of the bundled checkpoint; both projections are untrained.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.checkpoint import read_config, stored_keys, tokenizer_folder
from model.clap import Clap
from model.config import BUNDLED, AudioEncoderConfig, ClapConfig, FrontEndConfig
from model.importers.imported import Imported, sources
from model.importers.weights import Leftovers, Origin, Weights, take_over
from model.text import Tokenizer

AUDIO = "audio_encoder.base."
UNTRAINED = "the projections are untrained: use it as a starting point for training; its scores have no meaning yet"


def load(
    weights: Weights,
    name: str,
    front_end: FrontEndConfig,
    encoder: AudioEncoderConfig,
    origin: Origin,
    computed: dict[str, Tensor],
    leftovers: Leftovers,
    licence: str,
    notes: tuple[str, ...] = (),
) -> Imported:
    """Build the model. The projections are the same at every import. Raises CheckpointError naming a key at fault."""
    text = read_config(BUNDLED).text_encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Clap(
            ClapConfig(
                name=name,
                front_end=front_end,
                audio_encoder=encoder,
                text_encoder=text,
                licence=licence,
                sources=sources(weights.files),
                training={"state": UNTRAINED},
            )
        )
    state = model.state_dict()
    new = {key: state[key] for key in stored_keys(model) if not key.startswith(AUDIO)}
    left_out = take_over(model, weights, origin, {**new, **computed}, leftovers)
    folder = tokenizer_folder(BUNDLED, text)
    return Imported(model.eval(), Tokenizer(folder, text.max_tokens), weights.files, (*notes, *left_out, UNTRAINED))
