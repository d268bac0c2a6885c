"""`anysound serve` with a model that certain clips crash: `python -m tests.service.faulty serve FLAGS`.

Everything is real but the engine's forward pass, which fails for a batch with a window that is one constant.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.gpu.faulty import run
from model import engine
from model.native import Excerpt
from service.ipc.embedding import Vectors

RAISES = 0.5
"""A window of this constant makes the forward pass raise."""
KILLS = 0.25
"""One of this makes it end the process, as a fault in native code does."""


class FaultyEngine(engine.Engine):
    def embed_audio(self, windows: Sequence[Vectors | Excerpt]) -> Vectors:
        for each in windows:
            window = each.recording.samples / 32_768 if isinstance(each, Excerpt) else each
            if np.ptp(window) == 0 and window[0] == KILLS:
                os.kill(os.getpid(), signal.SIGKILL)
            if np.ptp(window) == 0 and window[0] == RAISES:
                raise RuntimeError("the forward pass crashed")
        return super().embed_audio(windows)


if __name__ == "__main__":
    sys.exit(run("tests.service.faulty", FaultyEngine, sys.argv[1:]))
