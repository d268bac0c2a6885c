from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.anysound.command import run


def test_embed_gives_vectors_of_norm_one(tiny_folder: Path, recording: Path) -> None:
    result = run("embed", "--text", "a dog", "--audio", recording, "--model", tiny_folder)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [set(row) for row in rows] == [{"text", "embedding"}, {"name", "embedding"}]
    for row in rows:
        assert np.linalg.norm(row["embedding"]) == pytest.approx(1.0, abs=1e-5)
