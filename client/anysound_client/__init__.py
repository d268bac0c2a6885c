"""The Python client of anysound: score any recording against any labels.

`Client` for ordinary code, `AsyncClient` for asyncio; both have the same methods.
"""

from anysound_client.audio import Audio
from anysound_client.client import AsyncClient, Client
from anysound_client.errors import (
    AnysoundError,
    AudioTooLong,
    ConnectionFailed,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    PreconditionFailed,
    RateLimited,
    ServiceError,
    StaleLabelSet,
    TimedOut,
    Unauthorized,
    UnknownLabelSet,
    UnsupportedAudio,
)
from anysound_client.labels import Label
from anysound_client.results import (
    Classification,
    Embeddings,
    Event,
    Item,
    LabelSet,
    LabelSetSummary,
    Model,
    Result,
    Score,
    Window,
    to_pandas,
)
from anysound_client.stream import Dropped

__all__ = [
    "AnysoundError",
    "AsyncClient",
    "Audio",
    "AudioTooLong",
    "Classification",
    "Client",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Dropped",
    "Embeddings",
    "Event",
    "InternalError",
    "InvalidRequest",
    "Item",
    "Label",
    "LabelSet",
    "LabelSetSummary",
    "Model",
    "NotReady",
    "Overloaded",
    "PayloadTooLarge",
    "PreconditionFailed",
    "RateLimited",
    "Result",
    "Score",
    "ServiceError",
    "StaleLabelSet",
    "TimedOut",
    "Unauthorized",
    "UnknownLabelSet",
    "UnsupportedAudio",
    "Window",
    "to_pandas",
]
