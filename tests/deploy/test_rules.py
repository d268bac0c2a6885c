"""Every alert, tested by promtool with series on which it fires and series on which it does not; its runbook exists."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.chart import CHART, ROOT, manifests

RULES = CHART / "files" / "rules.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
RELEASE = {"namespace": "sounds", "job": "anysound"}
POD = {**RELEASE, "pod": "anysound-1"}
GPU = {"container": "anysound", "pod": "anysound-1", "gpu": "0"}

Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """`firing` and `silent` are series of one value per minute, up to `at` minutes."""

    alert: str
    labels: dict[str, str]
    summary: str
    firing: Series
    silent: Series
    at: int = 90


def series(metric: str, labels: dict[str, str], **more: str) -> str:
    pairs = ",".join(f'{name}="{value}"' for name, value in {**labels, **more}.items())
    return f"{metric}{{{pairs}}}"


def grows(a_minute: float) -> str:
    return f"0+{a_minute}x200"


def stays(value: float) -> str:
    return f"{value}+0x200"


def requests(good: float, failed: float) -> Series:
    count = "anysound_http_request_duration_seconds_count"
    return {
        series(count, POD, route="/v1/classify", method="POST", code="200"): grows(good),
        series(count, POD, route="/v1/classify", method="POST", code="500"): grows(failed),
        series(count, POD, route="/readyz", method="GET", code="503"): grows(500),  # probes are no requests
    }


def classified(in_time: float, late: float) -> Series:
    labels = {**POD, "route": "/v1/classify", "method": "POST", "code": "200"}
    return {
        series("anysound_http_request_duration_seconds_bucket", labels, le="0.25"): grows(in_time),
        series("anysound_http_request_duration_seconds_count", labels): grows(in_time + late),
    }


def waiting(audio_s: float, embedded_s: float) -> Series:
    return {
        series("anysound_queue_seconds", POD): stays(audio_s),
        series("anysound_audio_seconds_total", POD): grows(60 * embedded_s),
    }


def rejected(reason: str, a_minute: float) -> Series:
    return {series("anysound_rejected_total", POD, reason=reason): grows(a_minute)}


def looked_up(cache: str, tier: str, **results: float) -> Series:
    labels = {**POD, "cache": cache, "tier": tier}
    return {series("anysound_cache_requests_total", labels, result=name): grows(n) for name, n in results.items()}


def batches(windows: float) -> Series:
    return {
        series("anysound_batch_size_sum", POD, kind="audio"): grows(60 * windows),
        series("anysound_batch_size_count", POD, kind="audio"): grows(60),
    }


def gpu_memory(used: float, free: float) -> Series:
    return {series("DCGM_FI_DEV_FB_USED", GPU): stays(used), series("DCGM_FI_DEV_FB_FREE", GPU): stays(free)}


CASES = [
    Case(
        "AnysoundNoPodReady",
        {"severity": "critical"},
        "No pod of the service is ready.",
        {series("anysound_ready", POD): stays(0)},
        {series("anysound_ready", POD): stays(0), series("anysound_ready", POD, pod="anysound-2"): stays(1)},
    ),
    Case(
        "AnysoundTargetDown",
        {**POD, "severity": "warning"},
        "Prometheus cannot scrape anysound-1.",
        {series("up", POD): stays(0)},
        {series("up", POD): stays(1), series("up", POD, job="other"): stays(0)},
    ),
    Case(
        "AnysoundNotReady",
        {**POD, "severity": "warning"},
        "The worker of anysound-1 has not been ready for 10 minutes.",
        {series("anysound_ready", POD): stays(0)},
        {series("anysound_ready", POD): "1+0x81 0+0x100"},
    ),
    Case(
        "AnysoundErrorBudgetBurnFast",
        {**RELEASE, "severity": "critical"},
        "5% of requests fail; at this rate the 30-day error budget is used up in two days.",
        requests(95, 5),
        requests(99, 1),
    ),
    Case(
        "AnysoundErrorBudgetBurnSlow",
        {**RELEASE, "severity": "warning"},
        "1% of requests fail; at this rate the 30-day error budget is used up in five days.",
        requests(99, 1),
        requests(998, 2),
    ),
    Case(
        "AnysoundLatencyBudgetBurnFast",
        {**RELEASE, "severity": "critical"},
        "20% of classifications take longer than 0.25 s.",
        classified(80, 20),
        classified(90, 10),
    ),
    Case(
        "AnysoundLatencyBudgetBurnSlow",
        {**RELEASE, "severity": "warning"},
        "10% of classifications take longer than 0.25 s.",
        classified(90, 10),
        classified(98, 2),
    ),
    Case(
        "AnysoundQueueLong",
        {**RELEASE, "severity": "warning"},
        "The waiting audio takes 20s to process.",
        waiting(1200, 60),
        waiting(300, 60),
    ),
    Case(
        "AnysoundOverloaded",
        {**RELEASE, "severity": "critical"},
        "5% of requests are refused because the queue is full.",
        {**requests(100, 0), **rejected("overloaded", 5)},
        {**requests(1000, 0), **rejected("overloaded", 1), **rejected("unsupported_audio", 500)},
    ),
    Case(
        "AnysoundDecodeFailures",
        {**RELEASE, "severity": "warning"},
        "0.50 clips per request cannot be decoded.",
        {**requests(60, 0), series("anysound_decode_failures_total", POD, reason="unreadable"): grows(30)},
        {**requests(60, 0), series("anysound_decode_failures_total", POD, reason="unreadable"): grows(6)},
    ),
    Case(
        "AnysoundWorkerRestarting",
        {**POD, "severity": "warning"},
        "The worker of anysound-1 died 15 times in 15 minutes.",
        {series("anysound_worker_restarts_total", POD): grows(1)},
        {series("anysound_worker_restarts_total", POD): "0+0x80 1+0x120"},
    ),
    Case(
        "AnysoundProcessDown",
        {**POD, "kind": "worker", "severity": "warning"},
        "1 worker process(es) of anysound-1 are not ready; the others serve.",
        {
            series("anysound_processes", POD, kind="worker"): stays(2),
            series("anysound_processes_ready", POD, kind="worker"): stays(1),
            series("anysound_processes", POD, kind="api"): stays(1),
            series("anysound_processes_ready", POD, kind="api"): stays(1),
        },
        {
            series("anysound_processes", POD, kind="worker"): stays(2),
            series("anysound_processes_ready", POD, kind="worker"): "2+0x86 1+0x100",
        },
    ),
    Case(
        "AnysoundWorkersDiffer",
        {**POD, "severity": "warning"},
        "1 worker(s) of anysound-1 have another checkpoint and are not used.",
        {series("anysound_workers_odd", POD): stays(1)},
        {series("anysound_workers_odd", POD): "0+0x86 1+0x100"},
    ),
    Case(
        "AnysoundRedisUnavailable",
        {**RELEASE, "severity": "warning"},
        "90% of Redis lookups fail; requests are served without Redis.",
        looked_up("text", "redis", hit=10, error=10, bypass=80),
        looked_up("text", "redis", hit=50, miss=40, error=10),
    ),
    Case(
        "AnysoundPromptCacheCold",
        {**RELEASE, "cache": "text", "tier": "l1", "severity": "info"},
        "Only 20% of prompts are found in the process' cache.",
        {**requests(600, 0), **looked_up("text", "l1", hit=20, miss=80)},
        {**requests(600, 0), **looked_up("text", "l1", hit=90, miss=10), **looked_up("audio", "l1", miss=100)},
    ),
    Case(
        "AnysoundBatchesSmall",
        {**RELEASE, "severity": "info"},
        "Audio is waiting, but batches are small.",
        {**waiting(600, 60), **batches(2)},
        {**waiting(600, 60), **batches(32)},
    ),
    Case(
        "AnysoundUnauthorized",
        {**RELEASE, "severity": "warning"},
        "2 requests per second have no valid API key.",
        rejected("unauthorized", 120),
        rejected("unauthorized", 6),
    ),
    Case(
        "AnysoundGpuMemoryHigh",
        {**GPU, "severity": "warning"},
        "GPU 0 of anysound-1 is 97.5% full.",
        gpu_memory(78_000, 2_000),
        gpu_memory(40_000, 40_000),
    ),
    Case(
        "AnysoundGpuFault",
        {**GPU, "severity": "critical"},
        "GPU 0 of anysound-1 reported XID 79.",
        {series("DCGM_FI_DEV_XID_ERRORS", GPU): stays(79)},
        {series("DCGM_FI_DEV_XID_ERRORS", GPU): stays(0)},
    ),
]


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def unit_test(case: Case, fires: bool) -> dict[str, Any]:
    """One test of promtool's."""
    expected = {
        "exp_labels": case.labels,
        "exp_annotations": {
            "summary": case.summary,
            "runbook_url": alerts()[case.alert]["annotations"]["runbook_url"],
        },
    }
    given = case.firing if fires else case.silent
    return {
        "name": f"{case.alert} {'fires' if fires else 'is silent'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in given.items()],
        "alert_rule_test": [
            {"eval_time": f"{case.at}m", "alertname": case.alert, "exp_alerts": [expected] if fires else []}
        ],
    }


def run(promtool: str, folder: Path, tests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    file = folder / "rules_test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    return subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("fires", [True, False], ids=["fires", "is silent"])
def test_every_alert(promtool: str, tmp_path: Path, fires: bool) -> None:
    done = run(promtool, tmp_path, [unit_test(case, fires) for case in CASES])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_expectation_is_found(promtool: str, tmp_path: Path) -> None:
    """promtool judges: the same case fails with the expectation turned round."""
    test = unit_test(CASES[-1], True)
    test["alert_rule_test"][0]["exp_alerts"] = []
    assert run(promtool, tmp_path, [test]).returncode != 0


def test_every_alert_has_its_case() -> None:
    assert [case.alert for case in CASES] == list(alerts())


def test_the_rules_are_in_order(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "rules", "--lint-fatal", str(RULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_page_that_says_what_to_do() -> None:
    pages = {path.name for path in RUNBOOKS.glob("Anysound*.md")}
    named = {Path(rule["annotations"]["runbook_url"]).name for rule in alerts().values()}
    assert named == pages
    for page in pages:
        text = (RUNBOOKS / page).read_text()
        assert text.startswith("# Anysound")
        for part in ("## What it means", "## Look", "## Do"):
            assert part in text, f"{page}: {part}"


def test_a_page_asks_only_for_metrics_and_settings_that_exist() -> None:
    from service.settings import Settings

    modules = ("observe/metrics.py", "api/worker_metrics.py", "supervise/supervisor.py")
    sources = "".join((ROOT / "service" / module).read_text() for module in modules)
    for page in RUNBOOKS.glob("Anysound*.md"):
        text = page.read_text()
        for metric in set(re.findall(r"\banysound_[a-z_]+", text)):
            base = re.sub(r"_(bucket|sum|count|total)$", "", metric)
            assert f'"{base}' in sources, f"{page.name}: {metric}"
        for setting in set(re.findall(r"`settings\.([a-z_]+)", text)):
            assert setting in Settings.model_fields, f"{page.name}: {setting}"


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize("theirs", [{"service": "other"}, {"namespace": "other"}])
def test_an_outage_is_one_though_another_release_is_ready(
    promtool: str, tmp_path: Path, theirs: dict[str, str]
) -> None:
    carried = next(each for each in manifests("cpu") if each["kind"] == "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(carried["spec"]))
    ours = {"namespace": "anysound", "service": "anysound", "job": "anysound", "pod": "anysound-1"}
    test = unit_test(CASES[0], True)
    test["input_series"] = [
        {"series": series("anysound_ready", ours), "values": "1+0x80 0+0x100"},
        {"series": series("anysound_ready", {**ours, **theirs}), "values": stays(1)},
    ]
    expected = test["alert_rule_test"][0]["exp_alerts"][0]
    expected["exp_labels"] = {**CASES[0].labels, "namespace": "anysound", "service": "anysound"}
    test["alert_rule_test"].append({"eval_time": "79m", "alertname": CASES[0].alert, "exp_alerts": []})
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("helm")
def test_the_chart_carries_the_rules_with_addresses_of_its_pages() -> None:
    carried = next(
        each
        for each in manifests("cpu", "monitoring.rules.runbooks=https://runbooks.example.com")
        if each["kind"] == "PrometheusRule"
    )
    text = RULES.read_text().replace("docs/runbooks/", "https://runbooks.example.com/")
    ours = yaml.safe_load(text)
    [outage] = [rule for group in ours["groups"] for rule in group["rules"] if rule.get("alert") == CASES[0].alert]
    outage["expr"] = 'absent(anysound_ready{namespace="anysound",service="anysound"} == 1)'
    outage["labels"] |= {"namespace": "anysound", "service": "anysound"}
    assert carried["spec"] == ours
