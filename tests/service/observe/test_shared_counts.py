"""Metrics of several processes in memory that they share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import CollectorRegistry

from service.observe import metrics
from service.observe.shared_counts import KINDS, SharedCounts
from tests.conftest import ROOT
from tests.service.observe.test_metrics import total

COUNTS = """
import os, signal
from service.observe.metrics import DECODE_FAILURES, IN_PROGRESS, REQUEST_DURATION, REGISTRY, exposition
DECODE_FAILURES.labels("unreadable").inc()
IN_PROGRESS.inc()
REQUEST_DURATION.labels("/v1/classify", "POST", 200).observe(0.1)
for number in range(NEW): REQUEST_DURATION.labels(f"/v1/{number}", "POST", 200).observe(0.1)
print(exposition().decode(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def count(counts: SharedCounts, process: str, new: int = 0) -> str:
    """A process that counts one of each, and series of its own, and is killed; the metrics that it saw last."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTS.replace("NEW", str(new))],
        cwd=ROOT,
        env={**os.environ, **counts.environment(process)},
        pass_fds=counts.descriptors,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == -9
    return done.stdout


@pytest.fixture
def counts(tmp_path: Path) -> Iterator[SharedCounts]:
    counts = SharedCounts(tmp_path / "metrics", ["api-0", "api-1"])
    yield counts
    counts.close()


def test_each_process_gives_the_sums_of_all_and_a_new_one_counts_on(counts: SharedCounts) -> None:
    for number, process in enumerate(["api-0", "api-1", "api-0", "api-1"], start=1):
        text = count(counts, process)
        assert total(text, "anysound_decode_failures_total") == number
        assert total(text, "anysound_http_request_duration_seconds_count") == number
        counts.ended(process)
        assert total(text, "anysound_http_requests_in_progress") == 1, "those of dead processes do not count"


def test_a_gauge_of_the_supervisor_is_among_them(counts: SharedCounts) -> None:
    counts.set("anysound_processes_ready", "Processes that are ready.", {"kind": "api"}, 2)
    counts.set("anysound_processes_ready", "Processes that are ready.", {"kind": "api"}, 1)
    assert total(count(counts, "api-0"), "anysound_processes_ready", kind="api") == 1


def test_more_series_than_there_was_room_for_are_kept(counts: SharedCounts) -> None:
    assert total(count(counts, "api-0", new=500), "anysound_http_request_duration_seconds_count") == 501
    assert total(count(counts, "api-1"), "anysound_http_request_duration_seconds_count") == 502


def test_no_metric_needs_a_file_of_another_kind() -> None:
    """It would lie on the disk, where SIGBUS threatens."""
    collectors: list[Any] = list(metrics.REGISTRY._collector_to_names)
    kinds = {"_".join(filter(None, (each._type, getattr(each, "_multiprocess_mode", "")))) for each in collectors}
    assert kinds <= set(KINDS)
    assert collectors


def test_reading_needs_nothing_on_the_disk_but_links(counts: SharedCounts) -> None:
    count(counts, "api-0", new=500)
    assert all(path.is_symlink() for path in counts.folder.iterdir())
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(counts.folder))
    assert total(generate_latest(registry).decode(), "anysound_decode_failures_total") == 1
