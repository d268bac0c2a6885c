"""The metrics of API processes. No label ever carries a prompt, a file name or a key.

All API processes count in shared memory; the one that is scraped adds them up.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.observe import shared_counts
from service.observe.shared_counts import FOLDER_VARIABLE

shared_counts.attach()

STAGES = ("upload", "decode", "queue", "audio_embed", "text_embed", "cache", "score")
# 0.25 s, the latency objective, has to be a bucket's bound.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

REGISTRY = CollectorRegistry()

REQUEST_DURATION = Histogram(
    "anysound_http_request_duration_seconds",
    "Time from a request's first byte to the end of its answer.",
    ("route", "method", "code"),
    buckets=BUCKETS,
    registry=REGISTRY,
)
IN_PROGRESS = Gauge(
    "anysound_http_requests_in_progress",
    "Requests being answered.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
STAGE_DURATION = Histogram(
    "anysound_stage_duration_seconds",
    "Time of each stage of a classification. Stages do not overlap: their sums add up to the request's.",
    ("stage",),
    buckets=BUCKETS,
    registry=REGISTRY,
)
REJECTED = Counter(
    "anysound_rejected_total",
    "Requests and clips that were refused, by error code.",
    ("reason",),
    registry=REGISTRY,
)
CACHE_REQUESTS = Counter(
    "anysound_cache_requests_total",
    "Keys looked up or written, by result.",
    ("cache", "tier", "result"),
    registry=REGISTRY,
)
DECODE_FAILURES = Counter(
    "anysound_decode_failures_total", "Clips that could not be decoded.", ("reason",), registry=REGISTRY
)
STREAMS = Gauge(
    "anysound_streams", "Streams of live audio that are open.", registry=REGISTRY, multiprocess_mode="livesum"
)
STREAM_DROPPED = Counter(
    "anysound_stream_windows_dropped_total",
    "Windows of streams that were not scored, since the stream fell behind.",
    registry=REGISTRY,
)
STREAM_LAG = Histogram(
    "anysound_stream_lag_seconds",
    "Time from the last sample of a stream's window to the window's scores.",
    buckets=BUCKETS,
    registry=REGISTRY,
)


def exposition(*collectors: Collector) -> bytes:
    """All metrics in Prometheus' text format: those of every API process, and what the `collectors` give."""
    registry = REGISTRY
    if FOLDER_VARIABLE in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    more = CollectorRegistry()
    for collector in collectors:
        more.register(collector)
    return generate_latest(registry) + generate_latest(more)
