"""What the routes of one API process share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol, Self

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.api.classify import Classifier
from service.api.json_body import JsonBodies
from service.api.keys import Keys
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.registry import LabelSets
from service.api.rate import Buckets, SharedBuckets
from service.api.shutdown import Shutdown
from service.api.stream.places import StreamPlaces
from service.decoding.pool import DecodePool
from service.ipc.embedding import Embedder
from service.ipc.stats import WorkerStats
from service.settings import Settings


class WorkerConnection(Embedder, Protocol):
    """An embedder that is connected to its workers while it is entered."""

    @property
    def stats(self) -> WorkerStats: ...

    @property
    def odd_workers(self) -> int: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class Services:
    """`buckets` is None if there is no rate limit."""

    settings: Settings
    keys: Keys
    buckets: Buckets | SharedBuckets | None
    embedder: Embedder
    decoders: DecodePool
    classifier: Classifier
    label_sets: LabelSets
    default_labels: LabelSet
    json_bodies: JsonBodies
    shutdown: Shutdown
    stream_places: StreamPlaces


async def services_of(connection: HTTPConnection) -> Services:
    """The services that the application's lifespan has started."""
    services: Services = connection.app.state.services
    return services


Injected = Annotated[Services, Depends(services_of)]
"""Type of a route's parameter that receives the services."""
