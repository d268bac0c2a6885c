"""The workers' counters as metrics. They arrive with the workers' heartbeats, so every API process reports the same."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.api.services import WorkerConnection


class WorkerCollector(Collector):
    """The workers' counters, and whether one of them is ready."""

    def __init__(self, client: WorkerConnection, draining: bool) -> None:
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
        yield GaugeMetricFamily("anysound_queue_seconds", "Seconds of audio that wait.", stats.queue_seconds)
        yield CounterMetricFamily("anysound_audio_seconds", "Seconds of audio that were embedded.", stats.audio_seconds)
        yield CounterMetricFamily("anysound_worker_restarts", "Workers that died.", stats.restarts)
        yield GaugeMetricFamily(
            "anysound_workers_odd",
            "Workers that are not used, since they serve another model than the others.",
            self._client.odd_workers,
        )
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
