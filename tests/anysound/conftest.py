from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).standard_normal(20_000) * 0.1, 8_000)
    return path
