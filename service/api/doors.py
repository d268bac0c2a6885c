"""The doors for the clients of other servers: which of their paths need a key, and how their errors are written."""

from __future__ import annotations

import re

HUGGING_FACE = ("/", "/hf")
OPENAI = re.compile(r"/v1/(embeddings|models)(/.*)?", re.DOTALL)
INFERENCE_PROTOCOL = re.compile(r"/v2(/.*)?", re.DOTALL)
HEALTH = re.compile(r"/v2/(health/(live|ready)|models/.+/ready)")
CLASSIFY = re.compile(r"/|/hf|/v1/classify|/v2/models/.+/infer")


def guarded(method: str, path: str) -> bool:
    """Whether a request needs a key, where keys are needed. The page at `/` and probes need none."""
    if path == "/":
        return method == "POST"
    if INFERENCE_PROTOCOL.fullmatch(path):
        return not HEALTH.fullmatch(path)
    return path == "/hf" or path.startswith("/v1/")


def classifies(method: str, path: str) -> bool:
    """Whether a request brings recordings to classify."""
    return method == "POST" and CLASSIFY.fullmatch(path) is not None


def has_plain_errors(path: str) -> bool:
    """Whether the clients of a path read `{"error": string}`, and only with the type `application/json`."""
    return path in HUGGING_FACE or INFERENCE_PROTOCOL.fullmatch(path) is not None


def has_openai_errors(path: str) -> bool:
    """Whether the clients of a path read `error.message`."""
    return OPENAI.fullmatch(path) is not None
