"""The application of one API process: routes, what they need, and every failure as a problem document."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from redis.asyncio import Redis
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from model.audio import Limits
from service.api import routes
from service.api.access import Access
from service.api.classify import Classifier
from service.api.gate import Gate
from service.api.keys import Keys, KeysError
from service.api.label_sets.folder_store import FolderStore
from service.api.label_sets.quota import Quota
from service.api.label_sets.redis_store import RedisStore
from service.api.label_sets.registry import LabelSets
from service.api.metrics_port import metrics_of, serve_metrics
from service.api.prefix import Prefix
from service.api.problems import Code, Problem, respond
from service.api.rate import Buckets, Rate, SharedBuckets
from service.cache.audio_cache import AudioCache
from service.cache.prompt_cache import PromptCache
from service.cache.redis_link import RedisLink, connect
from service.decoding.pool import DecodePool
from service.ipc.client import WorkerClient
from service.observe.metrics import REJECTED
from service.observe.traces import Traces
from service.settings import Settings, SettingsError

ASKED_WITH = (
    *("authorization", "content-type", "if-match", "if-none-match"),
    *("x-api-key", "x-request-id", "x-deadline-ms", "x-priority"),
)
ANSWERED_WITH = ("etag", "retry-after", "server-timing", "x-request-id")

BY_STATUS = {
    400: Code.INVALID_REQUEST,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.PAYLOAD_TOO_LARGE,
    503: Code.OVERLOADED,
}


def create_app(
    settings: Settings, endpoints: Sequence[str], metrics: socket.socket | None = None, folder: Path | None = None
) -> FastAPI:
    """An application that asks the workers at `endpoints`. Raises SettingsError where what the settings name is no use.

    `metrics` is a listening socket for /metrics alone; without one the route is among the others. `folder` is where the
    API processes of one service share label sets when there is no Redis.
    """

    client = redis_of(settings)
    traces = None if settings.otlp_endpoint is None else Traces(settings.otlp_endpoint, version("anysound"))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = Limits(max_seconds=settings.max_audio_seconds)
        async with AsyncExitStack() as stack:
            if traces is not None:
                stack.push_async_callback(asyncio.to_thread, traces.close)
            embedder = await stack.enter_async_context(WorkerClient(endpoints))
            redis = (
                None if client is None else await stack.enter_async_context(RedisLink(client, settings.redis_timeout_s))
            )
            keeps_audio = settings.audio_cache_bytes > 0
            decoders = DecodePool(settings.decode_processes, limits, digests=keeps_audio)
            await stack.enter_async_context(decoders)
            prompts = PromptCache(embedder, settings.prompt_cache_size, redis, settings.redis_ttl_s)
            stack.push_async_callback(prompts.flush)
            recordings = AudioCache(embedder, settings.audio_cache_bytes, redis, settings.redis_ttl_s)
            stack.push_async_callback(recordings.flush)
            shared = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="anysound-")))
            quota = Quota(
                settings.max_label_sets,
                settings.max_label_sets_per_key,
                settings.max_label_sets_bytes,
                settings.max_label_sets_bytes_per_key,
            )
            store = FolderStore(shared / "label-sets", quota) if redis is None else RedisStore(redis, quota)
            app.state.label_sets = await stack.enter_async_context(LabelSets(store))
            app.state.buckets = buckets_of(settings, redis)
            app.state.classifier = Classifier(embedder, decoders, prompts, recordings if keeps_audio else None)
            if metrics is not None:
                await stack.enter_async_context(serve_metrics(embedder, metrics, lambda: draining(app)))
            yield

    app = FastAPIOffline(  # /docs has its scripts here: a cluster without internet shows it too
        title="anysound",
        summary="Classify any sound with any labels.",
        version=version("anysound"),
        lifespan=lifespan,
        redirect_slashes=False,  # behind TLS the redirect would lead to http://
        redoc_url=None,
    )
    app.state.settings = settings
    try:
        app.state.keys = Keys(settings.api_keys_file)
    except (KeysError, OSError) as error:
        raise SettingsError(f"cannot read the API keys: {error}") from None
    app.state.drain = None
    app.include_router(routes.api)
    app.include_router(routes.operations)
    if metrics is None:
        app.add_api_route(
            "/metrics",
            metrics_of(lambda: app.state.classifier.embedder, lambda: draining(app)),
            include_in_schema=False,
        )
    # The last one added is the first that a request meets.
    app.add_middleware(Gate, routes=routes.api.routes)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=ASKED_WITH,
            expose_headers=ANSWERED_WITH,
        )
    app.add_middleware(Access, settings=settings, traces=traces)
    if settings.root_path:
        app.add_middleware(Prefix, root_path=settings.root_path)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    return app


def draining(app: FastAPI) -> bool:
    return app.state.drain is not None and bool(app.state.drain.draining)


def redis_of(settings: Settings) -> Redis | None:
    """A client for the Redis that the settings name, if they do. Raises SettingsError where it cannot be."""
    if settings.redis_url is None:
        return None
    try:
        return connect(settings.redis_url.get_secret_value(), settings.redis_password_file, settings.redis_ca_file)
    except (ValueError, OSError) as error:
        raise SettingsError(f"cannot use Redis: {error}") from None


def buckets_of(settings: Settings, redis: RedisLink | None) -> Buckets | SharedBuckets | None:
    """What holds keys to their rate, if the settings name one."""
    if settings.rate_limit is None:
        return None
    rate = Rate(settings.rate_limit, settings.rate_burst)
    return Buckets(rate) if redis is None else SharedBuckets(rate, redis)


def _answer(request: Request, problem: Problem) -> Response:
    REJECTED.labels(problem.code.code).inc()
    return respond(problem, request.state.request_id)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - registered for nothing else
    return _answer(request, error)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "str", "LabelIn"))
    return _answer(request, Problem(Code.INVALID_REQUEST, f"{place}: {first['msg']}"))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = BY_STATUS.get(error.status_code, Code.INVALID_REQUEST)
    details = {
        Code.NOT_FOUND: "There is no such route; /docs lists them.",
        Code.METHOD_NOT_ALLOWED: "The route does not take this method.",
        Code.PAYLOAD_TOO_LARGE: f"The body is over the limit of {request.app.state.settings.max_upload_bytes} bytes.",
        Code.INVALID_REQUEST: "The request cannot be read.",
        Code.OVERLOADED: "The service holds as many bytes of requests as it may.",
    }
    return _answer(request, Problem(code, details[code], headers=dict(error.headers or {})))
