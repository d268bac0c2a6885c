"""The one module that runs the model: windows and prompts in, embeddings out, on one device."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from model.checkpoint import load
from model.folding import prepare
from service.cores import cores
from service.embedding import ModelInfo, Vectors
from service.isolation import DeviceFault, OutOfMemory

Dtype = Literal["float32", "bfloat16"]

WARM_UP_PROMPTS = ("this is a sound of a dog", "rain")


def default_dtype(device: torch.device) -> Dtype:
    return "bfloat16" if device.type == "cuda" else "float32"


class Engine:
    """A checkpoint on a device. The same item gets the same embedding alone and in any batch (float32: to 1e-5)."""

    def __init__(self, folder: Path, device: str = "cpu", dtype: Dtype | None = None) -> None:
        self.device = torch.device(device)
        self.dtype: Dtype = dtype or default_dtype(self.device)
        if self.device.type == "cpu":
            torch.set_num_threads(cores())
        checkpoint = load(folder, self.device)
        self.dim = checkpoint.config.joint_dim
        self.window_samples = checkpoint.config.front_end.window_samples
        self.info = ModelInfo(
            checkpoint.config, checkpoint.fingerprint, checkpoint.logit_scale, str(self.device), self.dtype
        )
        self._tokenizer = checkpoint.tokenizer
        self._clap = checkpoint.model
        prepare(self._clap.audio_encoder, getattr(torch, self.dtype))

    def warm_up(self, batches: Sequence[int] = (1, 2)) -> None:
        """Run each encoder, so that the first request does not pay for lazy set-up."""
        silence = np.zeros((max(batches), self.window_samples), np.float32)
        for batch in batches:
            self.embed_audio(list(silence[:batch]))
        self.embed_text(WARM_UP_PROMPTS)

    def embed_audio(self, windows: Sequence[Vectors]) -> Vectors:
        """Windows, each float32 [window_samples] -> L2-normalised embeddings float32 [b, d].

        Raises OutOfMemory, DeviceFault, or whatever else the windows provoke.
        """
        with self._run(bf16=self.dtype == "bfloat16"):
            batch = torch.from_numpy(np.stack(windows)).to(self.device)  # a copy of its own: the rows may be read-only
            return _numpy(self._clap.embed_audio(batch))

    def embed_text(self, prompts: Sequence[str]) -> Vectors:
        """Prompts -> L2-normalised embeddings float32 [b, d], always computed in float32. Raises as `embed_audio`."""
        with self._run(bf16=False):
            tokens = {name: ids.to(self.device) for name, ids in self._tokenizer(prompts).items()}
            return _numpy(self._clap.embed_text(tokens))

    @contextmanager
    def _run(self, *, bf16: bool) -> Iterator[None]:
        try:
            with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                yield
        except torch.OutOfMemoryError as error:
            self._free()
            raise OutOfMemory(str(error)) from None
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
                self._free()
                raise OutOfMemory(str(error)) from None
            if self.device.type == "cuda" and _faulted(error):
                raise DeviceFault(str(error)) from error
            raise

    def _free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _numpy(embeddings: Tensor) -> Vectors:
    vectors: Vectors = embeddings.float().cpu().numpy()
    return vectors


def _faulted(error: Exception) -> bool:
    """Whether the CUDA context is lost: such an error comes back from every later call."""
    return "CUDA error" in str(error) or "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED" in str(error)
