"""Text encoders configured from the shapes of their weights, and the tokenizers that such files lack."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from model.checkpoint import CheckpointError, read_config
from model.config import BUNDLED
from model.importers.weights import Weights
from model.text import Tokenizer, package_folder

HEAD_WIDTH = 64  # of every BERT, RoBERTa and GPT-2 that was released


def rows_and_columns(weights: Weights, key: str) -> tuple[int, int]:
    """The shape of a matrix. Raises CheckpointError if it is absent or not a matrix."""
    if key not in weights.state:
        raise CheckpointError(f"{weights.file} lacks {key}")
    shape = tuple(weights.state[key].shape)
    if len(shape) != 2:
        raise CheckpointError(f"{weights.file}: {key} is {shape}, not a matrix")
    return shape[0], shape[1]


def layers(weights: Weights, pattern: str) -> int:
    """The number of different values of `pattern`'s group among the keys."""
    return len({found[1] for key in weights.state if (found := re.match(pattern, key))})


def bert(weights: Weights, prefix: str) -> dict[str, Any]:
    """transformers' config of the BERT or RoBERTa under `prefix`; RoBERTa has one token type, BERT two."""
    vocabulary, width = rows_and_columns(weights, f"{prefix}embeddings.word_embeddings.weight")
    types, _ = rows_and_columns(weights, f"{prefix}embeddings.token_type_embeddings.weight")
    roberta = {"model_type": "roberta", "layer_norm_eps": 1e-5, "pad_token_id": 1}
    return {
        **(roberta if types == 1 else {"model_type": "bert"}),
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers(weights, re.escape(prefix) + r"encoder\.layer\.(\d+)\."),
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "intermediate_size": rows_and_columns(weights, f"{prefix}encoder.layer.0.intermediate.dense.weight")[0],
        "max_position_embeddings": rows_and_columns(weights, f"{prefix}embeddings.position_embeddings.weight")[0],
        "type_vocab_size": types,
    }


def gpt2(weights: Weights, prefix: str) -> dict[str, Any]:
    """transformers' config of the GPT-2 under `prefix`."""
    vocabulary, width = rows_and_columns(weights, f"{prefix}wte.weight")
    return {
        "model_type": "gpt2",
        "vocab_size": vocabulary,
        "n_positions": rows_and_columns(weights, f"{prefix}wpe.weight")[0],
        "n_embd": width,
        "n_layer": layers(weights, re.escape(prefix) + r"h\.(\d+)\."),
        "n_head": max(1, width // HEAD_WIDTH),
        "n_inner": rows_and_columns(weights, f"{prefix}h.0.mlp.c_fc.weight")[1],
        "use_cache": False,
    }


def packaged_bert_vocabulary() -> Path:
    """The bundled text encoder's folder. Its vocabulary is identical to bert-base-uncased's."""
    return package_folder(read_config(BUNDLED).text_encoder)


def tokenizer(folder: Path, vocabulary: int, max_tokens: int, suffix: str = "", pad: str | None = None) -> Tokenizer:
    """Read a tokenizer for a model of `vocabulary` tokens, with `pad` as its padding token. Raises CheckpointError."""
    try:
        read = Tokenizer(folder, max_tokens, suffix)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} has no tokenizer that can be read: {error}") from None
    if pad is not None:
        read.inner.add_special_tokens({"pad_token": pad})
    if len(read.inner) > vocabulary:
        raise CheckpointError(f"{folder}: the tokenizer has {len(read.inner)} tokens, the model has {vocabulary}")
    return read
