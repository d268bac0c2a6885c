"""A ClapModel behind LitServe with its batching: `python litserve_batching.py MODEL PORT BATCH WORKERS DTYPE`.

Batches of up to BATCH clips are formed within 20 ms; the labels' embeddings are computed once and kept. WORKERS
processes share the cores.
"""

import base64
import io
import os
import sys
from typing import Any

import litserve
import numpy as np
import soundfile
import soxr
import torch
from transformers import ClapModel, ClapProcessor

MODEL, PORT, BATCH, WORKERS, DTYPE = sys.argv[1:]
LABELS = ["dog", "rain", "sea waves", "crying baby", "clock tick", "person sneezing", "helicopter", "chainsaw"]


class Clap(litserve.LitAPI):
    def setup(self, device: str) -> None:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // int(WORKERS)))
        self.model = ClapModel.from_pretrained(MODEL).to(device).eval()
        self.processor = ClapProcessor.from_pretrained(MODEL)
        self.rate = self.processor.feature_extractor.sampling_rate
        with torch.inference_mode():
            prompts = self.processor.tokenizer(
                [f"This is a sound of {x}." for x in LABELS], return_tensors="pt", padding=True
            )
            self.text = embeddings(self.model.get_text_features(**prompts.to(device)))

    def decode_request(self, request: dict[str, str]) -> Any:
        audio = io.BytesIO(base64.b64decode(request["audio"]))
        samples, rate = soundfile.read(audio, dtype="float32", always_2d=True)
        return soxr.resample(samples.mean(axis=1), rate, self.rate)

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs  # recordings of unequal length cannot be stacked: the feature extractor pads them

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def predict(self, clips: list[Any]) -> Any:
        features = self.processor.feature_extractor(clips, sampling_rate=self.rate, return_tensors="pt")
        with torch.inference_mode():
            with torch.autocast("cpu", torch.bfloat16, enabled=DTYPE == "bfloat16"):
                audio = embeddings(self.model.get_audio_features(**features)).float()
            return (self.model.logit_scale_a.exp() * audio @ self.text.T).softmax(dim=1).numpy()

    def encode_response(self, scores: Any) -> dict[str, float]:
        return dict(zip(LABELS, np.asarray(scores).tolist(), strict=True))


def embeddings(output: Any) -> Any:
    features = getattr(output, "pooler_output", output)
    return features / features.norm(dim=-1, keepdim=True)


if __name__ == "__main__":
    api = Clap(max_batch_size=int(BATCH), batch_timeout=0.02)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=int(WORKERS), timeout=60).run(
        port=int(PORT), host="127.0.0.1", generate_client_file=False, log_level="warning"
    )
