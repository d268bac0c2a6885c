"""The contract's routes, one resource per module. Each parses, asks the services, and answers."""

from __future__ import annotations

from service.api.labels import ExampleIn, LabelIn
from service.api.routes import (
    classify,
    embeddings,
    hugging_face,
    inference_protocol,
    label_sets,
    model,
    probes,
    stream,
)
from service.api.tensors import InferIn

GUARDED = (
    classify.router,
    embeddings.router,
    label_sets.router,
    model.router,
    hugging_face.router,
    inference_protocol.router,
)
OPERATIONS = (probes.router,)
STREAMS = (stream.router,)
"""WebSocket routes, which check keys and rates themselves: the key may be in the first message."""
MODELS = (InferIn, ExampleIn, LabelIn, embeddings.EmbeddingsIn, label_sets.LabelSetIn)
"""Models that the documentation of operations refers to."""
