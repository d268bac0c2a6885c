"""Text encoders: transformers' BERT family and GPT-2, pooled to one vector per prompt."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from model.config import TextEncoderConfig

Tokens = dict[str, Tensor]


class TextWeightsError(ValueError):
    """The text encoder's weights are absent, or are not those that the checkpoint was trained with."""


def package_folder(config: TextEncoderConfig) -> Path:
    """The folder of the text encoder's files in its package. Raises TextWeightsError if it is not installed."""
    spec = importlib.util.find_spec(config.package or "")
    if spec is None or spec.origin is None:
        raise TextWeightsError(f"the text encoder's package {config.package} is not installed")
    return Path(spec.origin).parent / config.path


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_base(config: TextEncoderConfig) -> nn.Module:
    """The transformers model: from its package, whose checksum is verified, or untrained from `architecture`.

    Raises TextWeightsError if the package is absent or contains other weights.
    """
    if config.architecture is not None:
        base: nn.Module = AutoModel.from_config(AutoConfig.for_model(**config.architecture))
        return base.eval()
    folder = package_folder(config)
    weights = folder / "model.safetensors"
    found = sha256(weights)
    if found != config.sha256:
        raise TextWeightsError(f"{weights} has SHA-256 {found}; the checkpoint was trained with {config.sha256}")
    base = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    missing, unexpected = base.load_state_dict(load_file(weights), strict=False)
    # Checkpoints saved by transformers before 4.31 contain this constant.
    if missing or [key for key in unexpected if not key.endswith("position_ids")]:
        raise TextWeightsError(f"{weights}: missing {missing}, unexpected {unexpected}")
    return base.eval()


class Tokenizer:
    """Prompts, each followed by `suffix` -> token ids, padded to the longest and truncated to `max_tokens`."""

    def __init__(self, folder: Path, max_tokens: int, suffix: str = "") -> None:
        self.inner: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self.max_tokens = max_tokens
        self.suffix = suffix
        self._end: int | None = self.inner(suffix)["input_ids"][-1] if suffix else None

    def __call__(self, prompts: Sequence[str]) -> Tokens:
        """n prompts -> `input_ids`, `attention_mask` (and `token_type_ids`), each int64 [n, longest]."""
        encoded = self.inner(
            [prompt + self.suffix for prompt in prompts],
            padding="longest",
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        tokens: Tokens = dict(encoded)
        if self._end is not None:
            ids, cut = tokens["input_ids"], tokens["attention_mask"].sum(dim=1) == self.max_tokens
            ids[cut, -1] = self._end
        return tokens


def pool(hidden: Tensor, tokens: Tokens, pooling: str) -> Tensor:
    """Token states [n, tokens, d] -> [n, d].

    `cls`: the first state; `mean`: the mean over the tokens that are not padding; `last`: the state of the last token,
    found as msclap does, by counting ids other than 0 (which is its padding and also its exclamation mark).
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        last = (tokens["input_ids"] != 0).sum(dim=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def text_features(base: nn.Module, tokens: Tokens, pooling: str) -> Tensor:
    """Tokenised prompts [n, tokens] -> pooled states [n, d] of the last layer; `pooler` is the model's own pooling."""
    states = base(**tokens)
    if pooling == "pooler":
        pooled: Tensor = states.pooler_output
        return pooled
    return pool(states.last_hidden_state, tokens, pooling)


@torch.inference_mode()
def sequence_features(base: nn.Module, tokenizer: Tokenizer, prompts: Sequence[str], pooling: str) -> Tensor:
    """Pooled states [n, d] of n prompts, computed 256 at a time."""
    parts = [prompts[start : start + 256] for start in range(0, len(prompts), 256)]
    return torch.cat([text_features(base, tokenizer(part), pooling) for part in parts])
