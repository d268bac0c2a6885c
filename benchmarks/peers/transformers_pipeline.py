"""transformers' zero-shot-audio-classification pipeline behind FastAPI.

`python transformers_pipeline.py MODEL PORT BATCH WORKERS DTYPE`. The pipeline is asked for one clip at a time, in a
single thread, as its documentation suggests for a web server; or in WORKERS threads, which share the cores.
"""

import asyncio
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import soundfile
import soxr
import torch
import uvicorn
from fastapi import Body, FastAPI, Query
from transformers import pipeline

MODEL, PORT, _, WORKERS, DTYPE = sys.argv[1:]
THREADS = max(1, len(os.sched_getaffinity(0)) // int(WORKERS))
classifier = pipeline("zero-shot-audio-classification", model=MODEL, device="cpu", dtype=getattr(torch, DTYPE))
workers = ThreadPoolExecutor(int(WORKERS), initializer=torch.set_num_threads, initargs=(THREADS,))
RATE = classifier.feature_extractor.sampling_rate
app = FastAPI()


@app.get("/health")
def health() -> str:
    return "ok"


def scores(audio: bytes, labels: list[str]) -> Any:
    samples, rate = soundfile.read(io.BytesIO(audio), dtype="float32", always_2d=True)
    return classifier(soxr.resample(samples.mean(axis=1), rate, RATE), candidate_labels=labels)


@app.post("/classify")
async def classify(audio: Annotated[bytes, Body(media_type="audio/wav")], labels: Annotated[list[str], Query()]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(workers, scores, audio, labels)


if __name__ == "__main__":
    uvicorn.run(app, port=int(PORT), log_level="warning")
