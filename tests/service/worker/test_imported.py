"""The engine serves an imported checkpoint as it serves its own: folded, and in half precision where that is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.checkpoint import load
from model.embed import embed_prompts, embed_windows
from model.engine import Dtype, Engine
from model.importers import read
from tests.model.importers.peers import write_transformers_clap


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 5e-2)])
def test_an_imported_model_gets_the_same_embeddings_in_the_worker(
    tmp_path: Path, fused: bool, dtype: Dtype, tolerance: float
) -> None:
    write_transformers_clap(tmp_path / "released", fused)
    read("transformers", tmp_path / "released").write(tmp_path / "checkpoint")
    checkpoint = load(tmp_path / "checkpoint")
    windows = np.random.default_rng(0).standard_normal((3, 8_000)).astype(np.float32) * 0.1
    engine = Engine(tmp_path / "checkpoint", "cpu", dtype)
    np.testing.assert_allclose(engine.embed_audio(list(windows)), embed_windows(checkpoint, windows), atol=tolerance)
    prompts = ["rain", "this is a sound of the dog"]
    np.testing.assert_allclose(engine.embed_text(prompts), embed_prompts(checkpoint, prompts), atol=tolerance)
