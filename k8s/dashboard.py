"""The Grafana dashboard. `python k8s/dashboard.py` writes its JSON into the chart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parent / "anysound" / "files" / "dashboards" / "anysound.json"
WIDTH, HEIGHT = 24, 8
PODS = 'namespace=~"$namespace",pod=~"$pod"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """`queries` maps legends to expressions, in which @ stands for the label matchers of the selected pods."""

    title: str
    unit: str
    queries: dict[str, str]
    about: str = ""
    kind: str = "timeseries"
    stacked: bool = False


def rate(metric: str, labels: str = "", by: str = "") -> str:
    """The summed rate of a counter over the selected pods."""
    selection = f"@,{labels}" if labels else "@"
    return f"sum{f' by ({by}) ' if by else ''}(rate({metric}{{{selection}}}[$__rate_interval]))"


def quantile(share: float, metric: str, labels: str = "", by: str = "") -> str:
    grouping = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', labels, grouping)})"


def mean(histogram: str, by: str = "") -> str:
    return f"{rate(f'{histogram}_sum', by=by)} / {rate(f'{histogram}_count', by=by)}"


DURATION = "anysound_http_request_duration_seconds"
V1 = 'route=~"/v1/.+"'
CLASSIFY = 'route="/v1/classify"'
SERVED = f'{CLASSIFY},code="200"'
IN_TIME = f'{SERVED},le="0.25"'
NOT_FAILED = f'{V1},code!~"5.."'
HIT, KNOWN, UNANSWERED = 'result="hit"', 'result=~"hit|miss"', 'tier="redis",result=~"error|bypass"'
STAGE = "anysound_stage_duration_seconds"
BATCH, BATCH_S = "anysound_batch_size", "anysound_batch_duration_seconds"
CACHE = "anysound_cache_requests_total"
CONTAINER = 'container="anysound",@'

ROWS: dict[str, list[Panel]] = {
    "Objectives": [
        Panel("Requests", "reqps", {"{{route}} {{code}}": rate(f"{DURATION}_count", V1, "route, code")}),
        Panel(
            "Latency of classifications",
            "s",
            {f"p{p}": quantile(p / 100, DURATION, SERVED) for p in (50, 95, 99)},
            "From the first byte of the request to the end of the answer. Objective: 99 % within 0.25 s.",
        ),
        Panel(
            "Classifications within 0.25 s",
            "percentunit",
            {
                "now": f"{rate(f'{DURATION}_bucket', IN_TIME)} / {rate(f'{DURATION}_count', SERVED)}",
                "6 h": '1 - avg(anysound:http_slow:ratio_rate6h{namespace=~"$namespace"})',
            },
        ),
        Panel(
            "Failed requests",
            "percentunit",
            {
                "now": f"1 - {rate(f'{DURATION}_count', NOT_FAILED)} / {rate(f'{DURATION}_count', V1)}",
                "6 h": 'avg(anysound:http_errors:ratio_rate6h{namespace=~"$namespace"})',
            },
            "Share of answers with status 5xx. Objective: below 0.1 %.",
        ),
        Panel(
            "Burn rate",
            "none",
            {
                "failures": 'avg(anysound:http_errors:ratio_rate1h{namespace=~"$namespace"}) / 0.001',
                "slow": 'avg(anysound:http_slow:ratio_rate1h{namespace=~"$namespace"}) / 0.01',
            },
            "At 1 the error budget lasts exactly 30 days. Alerts fire at 14.4 (fast) and 6 (slow).",
        ),
        Panel("Refused requests", "reqps", {"{{reason}}": rate("anysound_rejected_total", by="reason")}),
    ],
    "Where the time goes": [
        Panel(
            "Mean duration of each stage",
            "s",
            {"{{stage}}": mean(STAGE, "stage")},
            "Stages do not overlap: the stack is as high as the mean request.",
            stacked=True,
        ),
        Panel("p95 duration of each stage", "s", {"{{stage}}": quantile(0.95, STAGE, by="stage")}),
        Panel(
            "Sum of stages and whole request",
            "s",
            {
                "stages": f"{rate(f'{STAGE}_sum')} / {rate(f'{DURATION}_count', CLASSIFY)}",
                "request": f"{rate(f'{DURATION}_sum', SERVED)} / {rate(f'{DURATION}_count', SERVED)}",
            },
        ),
    ],
    "Queue and batches": [
        Panel("Waiting audio", "s", {"{{pod}}{{instance}}": "sum by (pod, instance) (anysound_queue_seconds{@})"}),
        Panel(
            "Time to process the waiting audio",
            "s",
            {"at the current rate": 'anysound:queue_wait:seconds{namespace=~"$namespace"}'},
        ),
        Panel("Audio embedded per second", "s", {"audio": rate("anysound_audio_seconds_total")}),
        Panel(
            "Mean batch size",
            "none",
            {"{{kind}}": mean(BATCH, "kind")},
        ),
        Panel("Batch sizes (audio)", "none", {"{{le}}": rate(f"{BATCH}_bucket", 'kind="audio"', "le")}, kind="heatmap"),
        Panel("p95 batch duration", "s", {"{{kind}}": quantile(0.95, BATCH_S, by="kind")}),
        Panel(
            "Device busy",
            "percentunit",
            {"{{kind}}": f"{rate(f'{BATCH_S}_sum', by='kind')} / scalar(count(anysound_ready{{@}}))"},
            "Time spent in batches per second. Batches in flight at the same time count separately.",
        ),
    ],
    "Caches": [
        Panel(
            "Hit ratio",
            "percentunit",
            {"{{cache}} {{tier}}": f"{rate(CACHE, HIT, 'cache, tier')} / {rate(CACHE, KNOWN, 'cache, tier')}"},
        ),
        Panel("Lookups", "ops", {"{{cache}} {{tier}} {{result}}": rate(CACHE, by="cache, tier, result")}),
        Panel(
            "Failed Redis lookups",
            "ops",
            {
                "all": f"{rate(CACHE, UNANSWERED)} or vector(0)",
            },
            "Errors, and lookups skipped by the circuit breaker. Requests are served without Redis.",
        ),
    ],
    "Clips": [
        Panel("Decoding failures", "ops", {"{{reason}}": rate("anysound_decode_failures_total", by="reason")}),
        Panel("Requests in progress", "none", {"all": "sum(anysound_http_requests_in_progress{@})"}),
        Panel("Pods ready", "none", {"ready": "sum(anysound_ready{@})", "scraped": 'count(up{job="anysound",@})'}),
        Panel(
            "Processes not ready",
            "none",
            {"{{pod}}{{instance}} {{kind}}": "anysound_processes{@} - anysound_processes_ready{@}"},
            "Workers and API processes that are starting or cannot start. Requests go to the others.",
        ),
        Panel("Worker restarts", "none", {"{{pod}}{{instance}}": "increase(anysound_worker_restarts_total{@}[5m])"}),
        Panel(
            "Served checkpoints",
            "none",
            {
                "{{name}} {{fingerprint}} {{device}} {{dtype}}": "count by (name, fingerprint, device, dtype) "
                "(anysound_model_info{@})"
            },
            "More than one line: a rollout is in progress or stuck.",
        ),
    ],
    "Streams": [
        Panel("Open streams", "none", {"{{pod}}{{instance}}": "sum by (pod, instance) (anysound_streams{@})"}),
        Panel(
            "Delay of a window's scores",
            "s",
            {f"p{p}": quantile(p / 100, "anysound_stream_lag_seconds") for p in (50, 95, 99)},
            "From the last sample of a window to its scores.",
        ),
        Panel("Dropped windows", "ops", {"all": rate("anysound_stream_windows_dropped_total")}),
    ],
    "GPU (DCGM exporter)": [
        Panel("GPU busy", "percent", {"{{pod}} {{gpu}}": f"DCGM_FI_DEV_GPU_UTIL{{{CONTAINER}}}"}),
        Panel(
            "Tensor cores active", "percentunit", {"{{pod}} {{gpu}}": f"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{CONTAINER}}}"}
        ),
        Panel(
            "Memory",
            "percentunit",
            {
                "{{pod}} {{gpu}}": f"DCGM_FI_DEV_FB_USED{{{CONTAINER}}} / "
                f"(DCGM_FI_DEV_FB_USED{{{CONTAINER}}} + DCGM_FI_DEV_FB_FREE{{{CONTAINER}}})"
            },
        ),
        Panel("Power", "watt", {"{{pod}} {{gpu}}": f"DCGM_FI_DEV_POWER_USAGE{{{CONTAINER}}}"}),
        Panel("Temperature", "celsius", {"{{pod}} {{gpu}}": f"DCGM_FI_DEV_GPU_TEMP{{{CONTAINER}}}"}),
        Panel("XID errors", "none", {"{{pod}} {{gpu}}": f"DCGM_FI_DEV_XID_ERRORS{{{CONTAINER}}}"}),
    ],
    "Process (cAdvisor, kube-state-metrics)": [
        Panel("Memory", "bytes", {"{{pod}}": f"container_memory_working_set_bytes{{{CONTAINER}}}"}),
        Panel(
            "CPU",
            "none",
            {"{{pod}}": f"sum by (pod) (rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval]))"},
        ),
        Panel(
            "Restarts", "none", {"{{pod}}": f"increase(kube_pod_container_status_restarts_total{{{CONTAINER}}}[1h])"}
        ),
        Panel(
            "Replicas",
            "none",
            {
                "wanted": 'sum(kube_deployment_spec_replicas{namespace=~"$namespace",deployment=~".*anysound"})',
                "available": 'sum(kube_deployment_status_replicas_available{namespace=~"$namespace",'
                'deployment=~".*anysound"})',
            },
        ),
    ],
}


def panel(id: int, spec: Panel, x: int, y: int, width: int) -> dict[str, Any]:  # noqa: A002 - Grafana's name
    custom = {"stacking": {"mode": "normal"}, "fillOpacity": 30} if spec.stacked else {"fillOpacity": 5}
    return {
        "id": id,
        "type": spec.kind,
        "title": spec.title,
        "description": spec.about,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": spec.unit, **({"custom": custom} if spec.kind == "timeseries" else {})},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": expression.replace("@", PODS),
                "legendFormat": legend,
                **({"format": "heatmap"} if spec.kind == "heatmap" else {}),
            }
            for number, (legend, expression) in enumerate(spec.queries.items())
        ],
    }


def variable(name: str, label: str) -> dict[str, Any]:
    """A dashboard variable. `All` also matches series without the label, as outside Kubernetes."""
    return {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": f"label_values(anysound_ready, {label})", "refId": name},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, specs in ROWS.items():
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}}
        )
        y += 1
        for start in range(0, len(specs), 3):
            line = specs[start : start + 3]
            for number, spec in enumerate(line):
                width = WIDTH // len(line)
                panels.append(panel(len(panels) + 1, spec, number * width, y, width))
            y += HEIGHT
    return {
        "uid": "anysound",
        "title": "anysound",
        "tags": ["anysound"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                variable("namespace", "namespace"),
                variable("pod", "pod"),
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "datasource": DATASOURCE,
                    "enable": True,
                    "expr": 'ALERTS{alertname=~"Anysound.+",alertstate="firing"}',
                    "titleFormat": "{{alertname}}",
                }
            ]
        },
        "panels": panels,
    }


def text() -> str:
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DASHBOARD.parent.mkdir(parents=True, exist_ok=True)
    DASHBOARD.write_text(text())
