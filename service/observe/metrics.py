"""What Prometheus sees. No label ever carries a prompt, a file name or a key.

With several API processes each writes its counts into `PROMETHEUS_MULTIPROC_DIR`, and whichever is scraped adds them
up. What the worker counts comes with its beats, the same in every API process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from service.ipc.client import WorkerClient

STAGES = ("upload", "decode", "queue", "audio_embed", "text_embed", "cache", "score")
# Milliseconds matter here; 0.25 s is the objective of an interactive request.
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
    "Time of each stage on a classification's way; they follow each other, so their sums add up to the request's.",
    ("stage",),
    buckets=BUCKETS,
    registry=REGISTRY,
)
REJECTED = Counter(
    "anysound_rejected_total",
    "Requests and clips that were refused, by the contract's code.",
    ("reason",),
    registry=REGISTRY,
)
CACHE_REQUESTS = Counter(
    "anysound_cache_requests_total",
    "Keys looked up or written, by what came of it.",
    ("cache", "tier", "result"),
    registry=REGISTRY,
)
DECODE_FAILURES = Counter(
    "anysound_decode_failures_total", "Clips that could not be decoded.", ("reason",), registry=REGISTRY
)


class WorkerCollector(Collector):
    """What the workers count, and whether one of them is ready."""

    def __init__(self, client: WorkerClient, draining: bool) -> None:
        self._client = client
        self._draining = draining

    def collect(self) -> Iterator[Metric]:
        stats = self._client.stats
        size = HistogramMetricFamily("anysound_batch_size", "Windows or prompts in a batch.", labels=("kind",))
        duration = HistogramMetricFamily(
            "anysound_batch_duration_seconds", "Time of a batch on the device.", labels=("kind",)
        )
        for kind, histogram in stats.batch_size.items():
            size.add_metric((kind,), histogram.cumulative(), histogram.sum)
        for kind, histogram in stats.batch_duration_s.items():
            duration.add_metric((kind,), histogram.cumulative(), histogram.sum)
        yield size
        yield duration
        yield GaugeMetricFamily("anysound_queue_seconds", "Audio that waits for the worker.", stats.queue_seconds)
        yield CounterMetricFamily("anysound_audio_seconds", "Audio that was embedded.", stats.audio_seconds)
        yield CounterMetricFamily("anysound_worker_restarts", "Workers that died.", stats.restarts)
        ready = self._client.ready and not self._draining
        yield GaugeMetricFamily(
            "anysound_ready", "1 while a worker is warm and the process is not draining.", float(ready)
        )
        if self._client.ready:
            info = self._client.info
            model = GaugeMetricFamily(
                "anysound_model_info",
                "The checkpoint that is served; always 1.",
                labels=("name", "fingerprint", "device", "dtype"),
            )
            model.add_metric((info.config.name, info.fingerprint, info.device, info.dtype), 1)
            yield model


def exposition(client: WorkerClient, draining: bool = False) -> bytes:
    """All metrics in Prometheus' text format, of every API process."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    worker = CollectorRegistry()
    worker.register(WorkerCollector(client, draining))
    return generate_latest(registry) + generate_latest(worker)
