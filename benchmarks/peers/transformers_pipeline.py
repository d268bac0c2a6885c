"""transformers' zero-shot-audio-classification pipeline behind FastAPI: `python transformers_pipeline.py MODEL PORT`.

The pipeline is asked in FastAPI's thread pool, one clip at a time, as its documentation suggests for a web server.
"""

import io
import sys
from typing import Annotated, Any

import soundfile
import soxr
import uvicorn
from fastapi import Body, FastAPI, Query
from transformers import pipeline

MODEL, PORT = sys.argv[1:]
classifier = pipeline("zero-shot-audio-classification", model=MODEL, device="cpu")
RATE = classifier.feature_extractor.sampling_rate
app = FastAPI()


@app.get("/health")
def health() -> str:
    return "ok"


@app.post("/classify")
def classify(audio: Annotated[bytes, Body(media_type="audio/wav")], labels: Annotated[list[str], Query()]) -> Any:
    samples, rate = soundfile.read(io.BytesIO(audio), dtype="float32", always_2d=True)
    return classifier(soxr.resample(samples.mean(axis=1), rate, RATE), candidate_labels=labels)


if __name__ == "__main__":
    uvicorn.run(app, port=int(PORT), log_level="warning")
