"""The application of one API process: its routes, the services they share, and the middleware around them."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from redis.asyncio import Redis
from starlette.middleware.cors import CORSMiddleware

from model.audio import Limits
from service.api import routes
from service.api.classify import Classifier
from service.api.default_labels import read_default_labels
from service.api.failures import handle_failures
from service.api.gate import Gate
from service.api.json_body import JsonBodies
from service.api.keys import Keys, KeysError
from service.api.label_sets.folder_store import FolderStore
from service.api.label_sets.quota import Quota
from service.api.label_sets.redis_store import RedisStore
from service.api.label_sets.registry import LabelSets
from service.api.metrics_port import metrics_of, serve_metrics
from service.api.middleware.access_log import AccessLog
from service.api.middleware.body_limits import BodyLimits
from service.api.middleware.cancellation import Cancellation
from service.api.middleware.content_encoding import ContentEncoding
from service.api.middleware.exchange import Exchanges
from service.api.middleware.failures import Failures
from service.api.middleware.prefix import Prefix
from service.api.middleware.request_metrics import RequestMetrics
from service.api.middleware.request_traces import RequestTraces
from service.api.middleware.security_headers import SecurityHeaders
from service.api.openapi import add_models
from service.api.rate import Buckets, Rate, SharedBuckets
from service.api.routes.page import page_routes
from service.api.services import Services, WorkerConnection
from service.api.shutdown import Shutdown
from service.api.stream.places import StreamPlaces
from service.cache.audio_cache import AudioCache
from service.cache.prompt_cache import PromptCache
from service.cache.redis_client import connect
from service.cache.redis_link import RedisLink
from service.decoding import sandbox
from service.decoding.pool import DecodePool
from service.observe.traces import Traces
from service.settings import Settings, SettingsError

ASKED_WITH = (
    *("authorization", "content-type", "if-match", "if-none-match"),
    *("x-api-key", "x-request-id", "x-deadline-ms", "x-priority"),
)
ANSWERED_WITH = ("etag", "retry-after", "server-timing", "x-request-id")


def create_app(
    settings: Settings,
    workers: WorkerConnection,
    *,
    shutdown: Shutdown | None = None,
    metrics: socket.socket | None = None,
    folder: Path | None = None,
) -> FastAPI:
    """An application that asks `workers` for embeddings. Raises SettingsError for settings that cannot be used.

    `metrics` is a listening socket that serves only /metrics; without it, the main port has that route. `folder` is
    where the API processes of one service keep label sets if there is no Redis.
    """
    shutdown = shutdown or Shutdown()
    try:
        sandbox.check(settings.decode_sandbox)
    except sandbox.SandboxError as error:
        raise SettingsError(str(error)) from None
    client = redis_of(settings)
    traces = None if settings.otlp_endpoint is None else Traces(settings.otlp_endpoint, version("anysound"))
    try:
        keys = Keys(settings.api_keys_file)
    except (KeysError, OSError) as error:
        raise SettingsError(f"cannot read the API keys: {error}") from None
    default_labels = read_default_labels(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if traces is not None:
                stack.push_async_callback(asyncio.to_thread, traces.close)
            await stack.enter_async_context(workers)
            redis = (
                None if client is None else await stack.enter_async_context(RedisLink(client, settings.redis_timeout_s))
            )
            keeps_audio = settings.audio_cache_bytes > 0
            limits = Limits(max_seconds=settings.max_audio_seconds)
            decoders = DecodePool(settings.decode_processes, limits, digests=keeps_audio, mode=settings.decode_sandbox)
            await stack.enter_async_context(decoders)
            prompts = PromptCache(workers, settings.prompt_cache_size, redis, settings.redis_ttl_s)
            stack.push_async_callback(prompts.flush)
            recordings = AudioCache(workers, settings.audio_cache_bytes, redis, settings.redis_ttl_s)
            stack.push_async_callback(recordings.flush)
            shared = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="anysound-")))
            quota = Quota(
                settings.max_label_sets,
                settings.max_label_sets_per_key,
                settings.max_label_sets_bytes,
                settings.max_label_sets_bytes_per_key,
            )
            store = FolderStore(shared / "label-sets", quota) if redis is None else RedisStore(redis, quota)
            app.state.services = Services(
                settings,
                keys,
                buckets_of(settings, redis),
                workers,
                decoders,
                Classifier(
                    workers,
                    decoders,
                    prompts,
                    recordings if keeps_audio else None,
                    settings.max_request_audio_seconds,
                    settings.max_answer_bytes,
                    settings.max_request_windows,
                ),
                await stack.enter_async_context(LabelSets(store)),
                default_labels,
                JsonBodies(),
                shutdown,
                StreamPlaces(settings.max_streams, settings.max_streams_per_key),
            )
            if metrics is not None:
                await stack.enter_async_context(serve_metrics(workers, metrics, shutdown))
            yield

    app = FastAPIOffline(  # the scripts of /docs are served here, so that it works without internet
        title="anysound",
        summary="Classify any sound with any labels.",
        version=version("anysound"),
        lifespan=lifespan,
        redirect_slashes=False,  # behind TLS the redirect would lead to http://
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the service has its own
    )
    routers = (*routes.GUARDED, *routes.OPERATIONS, *routes.STREAMS, page_routes(settings.root_path))
    for router in routers:
        app.include_router(router)
    if metrics is None:
        app.add_api_route("/metrics", metrics_of(workers, shutdown), include_in_schema=False)
    add_models(app, routes.MODELS)
    handle_failures(app, [route for router in routers for route in router.routes], settings)
    # The middleware that is added last sees a request first.
    app.add_middleware(ContentEncoding)
    app.add_middleware(Gate, routes=[route for router in routes.GUARDED for route in router.routes])
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=ASKED_WITH,
            expose_headers=ANSWERED_WITH,
        )
    app.add_middleware(BodyLimits, max_bytes=settings.max_upload_bytes, max_held_bytes=settings.max_inflight_bytes)
    app.add_middleware(Cancellation, timeout_s=settings.request_timeout_s)
    app.add_middleware(Failures)
    app.add_middleware(SecurityHeaders)
    if traces is not None:
        app.add_middleware(RequestTraces, traces=traces)
    app.add_middleware(AccessLog)
    app.add_middleware(RequestMetrics)
    app.add_middleware(Exchanges)
    if settings.root_path:
        app.add_middleware(Prefix, root_path=settings.root_path)
    return app


def redis_of(settings: Settings) -> Redis | None:
    """A client for the Redis that the settings name, if they name one. Raises SettingsError if it cannot be used."""
    if settings.redis_url is None:
        return None
    try:
        return connect(settings.redis_url.get_secret_value(), settings.redis_password_file, settings.redis_ca_file)
    except (ValueError, OSError) as error:
        raise SettingsError(f"cannot use Redis: {error}") from None


def buckets_of(settings: Settings, redis: RedisLink | None) -> Buckets | SharedBuckets | None:
    """The token buckets of all keys, if the settings have a rate limit."""
    if settings.rate_limit is None:
        return None
    rate = Rate(settings.rate_limit, settings.rate_burst)
    return Buckets(rate) if redis is None else SharedBuckets(rate, redis)
