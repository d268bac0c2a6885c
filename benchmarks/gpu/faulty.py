"""`anysound serve` with a model that a certain clip breaks: `python -m benchmarks.gpu.faulty serve FLAGS`.

A window of the constant `BREAKS` makes a kernel read outside of its tensor, which is a real fault of the CUDA context.
On a CPU it ends the process, which is the nearest that there is.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import numpy as np
import torch

from model import engine
from model.native import Excerpt
from model.prompts import Embeddings
from model.windows import Samples
from service.observe import logs
from service.supervise import processes, supervisor
from service.worker import __main__ as worker

BREAKS = 8_192
"""A quarter of full scale, as a 16-bit integer."""


class FaultyEngine(engine.Engine):
    def embed_audio(self, windows: Sequence[Samples | Excerpt]) -> Embeddings:
        for each in windows:
            samples = each.recording.samples if isinstance(each, Excerpt) else each * 32_768
            if np.ptp(samples) == 0 and samples[0] == BREAKS:
                self._break()
        return super().embed_audio(windows)

    def _break(self) -> None:
        if self.device.type == "cpu":
            os.kill(os.getpid(), signal.SIGKILL)
        with self._run(bf16=False):  # which recognises the fault
            few = torch.zeros(4, device=self.device)
            few[torch.tensor([1 << 20], device=self.device)].sum().item()


def run(place: str, faulty: type[engine.Engine], arguments: Sequence[str]) -> int:
    """The service (`serve FLAGS`) with the module `place` as its worker, or that worker with the engine `faulty`."""

    def module(name: str, *given: str) -> list[str]:
        return processes.module(place if name == "service.worker" else name, *given)

    if arguments[:1] == ["serve"]:
        supervisor.module = module  # type: ignore[attr-defined]
        return supervisor.main(arguments[1:])
    engine.Engine = faulty  # type: ignore[misc]
    logs.configure("text")
    return worker.main(arguments)


if __name__ == "__main__":
    status = run("benchmarks.gpu.faulty", FaultyEngine, sys.argv[1:])
    os._exit(status)
