"""The rendered manifests: which selectors match, what a pod may do, and how it starts and stops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from service.api.server import NOTICE_S
from service.settings import Settings
from tests.deploy.chart import (
    CHART,
    ROOT,
    VALUES,
    Manifest,
    containers,
    every_manifest,
    helm,
    manifests,
    one,
    pod_of,
    settings_schema,
)

pytestmark = pytest.mark.usefixtures("helm")

SERVING = [name for name in VALUES if name not in ("training", "load-test")]


def environment(container: Manifest) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def service_container(values: str, *settings: str) -> Manifest:
    container: Manifest = one("Deployment", values, *settings)["spec"]["template"]["spec"]["containers"][0]
    return container


def test_every_selector_selects_a_pod_of_its_release() -> None:
    for values in VALUES:
        found = manifests(values)
        pods = [pod["metadata"]["labels"] for each in found if (pod := pod_of(each))]
        for manifest in found:
            if manifest["kind"] == "ServiceMonitor":
                continue
            spec = manifest.get("spec", {})
            selector = spec.get("podSelector") or spec.get("selector")
            if not selector:
                continue
            labels = selector.get("matchLabels", selector) if isinstance(selector, dict) else selector
            selected = [pod for pod in pods if labels.items() <= pod.items()]
            assert len(selected) == 1, f"{values}: {manifest['kind']} {manifest['metadata']['name']}"


def test_the_service_monitor_selects_the_service_alone() -> None:
    labels = one("ServiceMonitor", "keda")["spec"]["selector"]["matchLabels"]
    services = [each["metadata"] for each in manifests("keda") if each["kind"] == "Service"]
    assert [each["name"] for each in services if labels.items() <= each["labels"].items()] == ["anysound"]
    assert labels["app.kubernetes.io/name"] == "anysound"  # the job's name, by jobLabel


@pytest.mark.parametrize("values", SERVING)
def test_every_port_that_is_named_exists(values: str) -> None:
    found = manifests(values)
    pods = [pod for each in found if (pod := pod_of(each))]
    named = {port["name"] for pod in pods for container in containers(pod) for port in container.get("ports", [])}
    service = one("Service", values)
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= named
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert service_container(values)[probe]["httpGet"]["port"] in named
    for policy in (each for each in found if each["kind"] == "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            assert {port["port"] for port in rule.get("ports", [])} <= named | {6379}
    for monitor in (each for each in found if each["kind"] == "ServiceMonitor"):
        assert {each["port"] for each in monitor["spec"]["endpoints"]} <= {p["name"] for p in service["spec"]["ports"]}


def test_metrics_have_a_port_that_the_ingress_never_shows() -> None:
    variables = environment(service_container("cpu"))
    ports = {port["name"]: str(port["containerPort"]) for port in service_container("cpu")["ports"]}
    assert variables["ANYSOUND_PORT"] == ports["http"]
    assert variables["ANYSOUND_METRICS_PORT"] == ports["metrics"] != ports["http"]
    for rule in one("Ingress", "cpu")["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            assert path["backend"]["service"] == {"name": "anysound", "port": {"name": "http"}}


def test_probes_ask_what_the_contract_says() -> None:
    container = service_container("gpu")
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/startupz", "readiness": "/readyz", "liveness": "/livez"}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300  # a large checkpoint from a slow disk


@pytest.mark.parametrize("settings", [(), ("settings.request_timeout_s=12.5",), ("termination.preStopSeconds=20",)])
@pytest.mark.parametrize("values", SERVING)
def test_a_pod_has_the_time_to_finish_what_it_accepted(values: str, settings: tuple[str, ...]) -> None:
    deployment = one("Deployment", values, *settings)
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    service = {name.lower(): value for name, value in environment(container).items()}
    drain, timeout = float(service["anysound_drain_s"]), float(service["anysound_request_timeout_s"])
    notice = min(NOTICE_S, drain / 2)  # as the service divides its drain time
    assert drain - notice >= timeout
    assert pod["terminationGracePeriodSeconds"] >= pre_stop + drain + 5


def test_a_longer_grace_period_is_taken_as_given() -> None:
    pod = one("Deployment", "cpu", "termination.gracePeriodSeconds=120")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 120


def test_every_pod_is_restricted() -> None:
    """Pod Security "restricted", and a root that nothing writes to."""
    for values, manifest in every_manifest():
        pod = pod_of(manifest)
        if pod is None:
            continue
        where = f"{values}: {manifest['metadata']['name']}"
        spec, security = pod["spec"], pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, where
        assert security["runAsUser"] == 10001, where
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert spec["automountServiceAccountToken"] is False, where
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), where
        assert all("hostPath" not in volume for volume in spec["volumes"]), where
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, where
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"], where
            assert "cpu" in container["resources"]["requests"], where


def test_every_mount_has_its_volume_and_every_volume_its_mount() -> None:
    for values, manifest in every_manifest():
        if pod := pod_of(manifest):
            mounted = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}, f"{values}: {manifest['kind']}"


def test_no_password_or_key_is_in_a_manifest() -> None:
    for values, manifest in every_manifest():
        assert manifest["kind"] != "Secret", values
        if pod := pod_of(manifest):
            for container in containers(pod):
                for variable in container.get("env", []):
                    assert variable["name"].endswith("_FILE") or "PASSWORD" not in variable["name"], values


def test_hashes_of_keys_become_a_secret_that_the_pod_mounts() -> None:
    sets = ("auth.enabled=true", f"auth.keyHashes={{{'a' * 64},{'b' * 64}}}")
    secret = one("Secret", "minimal", *sets)
    assert secret["stringData"]["keys"].split() == ["a" * 64, "b" * 64]
    volumes = one("Deployment", "minimal", *sets)["spec"]["template"]["spec"]["volumes"]
    keys = next(volume["secret"] for volume in volumes if volume["name"] == "keys")
    assert (keys["secretName"], keys["items"]) == ("anysound-keys", [{"key": "keys", "path": "keys"}])


def test_a_gpu_is_a_limit_and_its_taint_is_tolerated() -> None:
    spec = one("Deployment", "gpu")["spec"]
    pod = spec["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}  # there is no spare one


def test_only_pods_with_a_model_go_to_the_gpu_nodes() -> None:
    sets = ("nodeSelector.gpu=yes", "redis.mode=internal", "redis.existingSecret=s")
    pods = {each["kind"]: pod["spec"] for each in manifests("keda", *sets) if (pod := pod_of(each))}
    assert pods["Deployment"]["nodeSelector"] == {"gpu": "yes"}
    assert not {"nodeSelector", "tolerations"} & pods["StatefulSet"].keys()


@pytest.mark.parametrize(("values", "kind"), [("cpu", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")])
def test_an_autoscaler_owns_the_replicas(values: str, kind: str) -> None:
    deployment = one("Deployment", values)
    assert "replicas" not in deployment["spec"]
    scalers = [each for each in manifests(values) if each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
    assert [each["kind"] for each in scalers] == [kind]
    assert scalers[0]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_pods_are_added_at_once_and_taken_away_slowly() -> None:
    advanced = one("ScaledObject", "keda")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]
    for behaviour in (one("HorizontalPodAutoscaler", "cpu")["spec"]["behavior"], advanced["behavior"]):
        assert behaviour["scaleUp"]["stabilizationWindowSeconds"] == 0
        assert behaviour["scaleDown"]["stabilizationWindowSeconds"] == 600
        assert behaviour["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]


def test_the_ingress_lets_through_what_the_service_takes() -> None:
    sets = ("settings.max_upload_bytes=10000000", "settings.request_timeout_s=7.5")
    annotations = one("Ingress", "cpu", *sets)["metadata"]["annotations"]
    assert int(annotations["nginx.ingress.kubernetes.io/proxy-body-size"]) > 10_000_000
    assert int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"]) > 7.5


def test_numbers_reach_the_service_as_it_reads_them() -> None:
    large = 1 << 30
    sets = (
        "settings.max_upload_bytes=1073741824",
        f"settings.max_inflight_bytes={large}",
        "settings.max_audio_seconds=0.5",
    )
    variables = environment(service_container("minimal", *sets))
    assert variables["ANYSOUND_MAX_UPLOAD_BYTES"] == "1073741824"
    assert variables["ANYSOUND_MAX_AUDIO_SECONDS"] == "0.5"


def test_the_chart_knows_no_setting_that_the_service_does_not() -> None:
    """Nor another bound. `make manifests` takes over what is new."""
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]["properties"]
    assert schema.items() <= settings_schema().items()


def test_every_variable_of_the_pod_is_a_setting() -> None:
    for values in SERVING:
        ours = {name for name in environment(service_container(values)) if name.startswith("ANYSOUND_")}
        assert ours <= {f"ANYSOUND_{name.upper()}" for name in Settings.model_fields}


def test_a_checkpoint_on_a_volume_is_read_only_and_named_to_the_service() -> None:
    container = service_container("gpu")
    assert environment(container)["ANYSOUND_MODEL"] == "/models/default"
    assert {"name": "model", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]


def test_a_checkpoint_that_is_fetched_is_checked_first() -> None:
    pod = one("Deployment", "keda")["spec"]["template"]["spec"]
    first = pod["initContainers"][0]
    assert [argument.split("=")[0] for argument in first["args"]] == ["--url", "--sha256", "--folder", "--path"]
    assert {"name": "model", "mountPath": "/models", "readOnly": True} in pod["containers"][0]["volumeMounts"]


def test_the_service_reaches_dns_and_redis_and_nothing_else() -> None:
    egress = one("NetworkPolicy", "cpu")["spec"]["egress"]
    assert [sorted({port["port"] for port in rule["ports"]}) for rule in egress] == [[53], [6379]]
    assert all(rule["to"] for rule in egress)
    redis = one("NetworkPolicy", "cpu", component="redis")["spec"]
    assert redis["egress"] == []
    assert len(redis["ingress"]) == 1


def egress(*settings: str) -> list[Manifest]:
    rules: list[Manifest] = one("NetworkPolicy", "minimal", "networkPolicy.enabled=true", *settings)["spec"]["egress"]
    return rules


@pytest.mark.parametrize(
    ("endpoint", "port"), [("http://collector:4318", 4318), ("https://traces.example.com/otlp", 443), ("http://c", 80)]
)
def test_traces_reach_their_collector(endpoint: str, port: int) -> None:
    assert egress(f"settings.otlp_endpoint={endpoint}")[1:] == [{"ports": [{"protocol": "TCP", "port": port}]}]
    peers = 'networkPolicy.traces=[{"podSelector": {"matchLabels": {"app": "collector"}}}]'
    assert egress(f"settings.otlp_endpoint={endpoint}", peers)[1]["to"] == [
        {"podSelector": {"matchLabels": {"app": "collector"}}}
    ]


def test_dns_may_be_elsewhere() -> None:
    ports = [{"protocol": "UDP", "port": 5353}, {"protocol": "TCP", "port": 5353}]
    local = {"ipBlock": {"cidr": "169.254.20.10/32"}}
    settings = (f"networkPolicy.dns.peers=[{json.dumps(local)}]", "networkPolicy.dns.port=5353")
    assert egress(*settings) == [{"to": [local], "ports": ports}]


def test_an_upgrade_of_the_service_does_not_restart_redis(tmp_path: Path) -> None:
    newer = tmp_path / "chart"
    shutil.copytree(CHART, newer)
    chart = (newer / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(chart.replace("ersion: 0.1.0", "ersion: 9.9.9"))
    text = helm("template", "anysound", str(newer), "--namespace", "anysound", "-f", str(VALUES["cpu"]))
    upgraded = next(each for each in yaml.safe_load_all(text) if each["kind"] == "StatefulSet")
    before = one("StatefulSet", "cpu", component="redis")
    assert upgraded["metadata"]["labels"]["app.kubernetes.io/version"] == "9.9.9"
    assert upgraded["spec"] == before["spec"]


def test_the_password_of_redis_is_taken_over_by_a_sidecar() -> None:
    pod = one("StatefulSet", "cpu", component="redis")["spec"]["template"]["spec"]
    sidecar = next(each for each in pod["initContainers"] if each.get("restartPolicy") == "Always")
    secret = next(volume["secret"]["secretName"] for volume in pod["volumes"] if volume["name"] == "password")
    assert secret == "anysound-redis"
    assert {mount["name"] for mount in sidecar["volumeMounts"]} == {"data", "configuration", "password"}
    assert all("subPath" not in mount for mount in sidecar["volumeMounts"]), "a subPath is never updated"


@pytest.mark.parametrize(("cpu", "cores"), [("2", "2"), ("1.5", "2"), ("500m", "1"), ("2500m", "3")])
def test_the_service_computes_on_the_cores_that_the_pod_requests(cpu: str, cores: str) -> None:
    """Whatever the node has: memory is set for that many."""
    requested = f"resources.requests.cpu={cpu}"
    assert environment(service_container("cpu", requested))["ANYSOUND_CORES"] == cores
    assert environment(service_container("cpu", requested, "settings.cores=7"))["ANYSOUND_CORES"] == "7"


def test_connections_stay_open_for_longer_than_the_ingress_keeps_them() -> None:
    """Otherwise the ingress uses a connection that is being closed, and answers 502. nginx keeps them for 60 s."""
    assert Settings().keep_alive_s > 60


def test_slow_uploads_wait_at_the_ingress() -> None:
    annotations = one("Ingress", "cpu")["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-request-buffering"] == "on"


def test_the_ingress_serves_the_path_prefix() -> None:
    ingress = one("Ingress", "cpu", "settings.root_path=/sounds")
    assert ingress["spec"]["rules"][0]["http"]["paths"][0]["path"] == "/sounds"
    assert environment(service_container("cpu", "settings.root_path=/sounds"))["ANYSOUND_ROOT_PATH"] == "/sounds"


def test_values_repeat_the_defaults_of_the_service() -> None:
    """The chart computes with these defaults."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())["settings"]
    del values["log_format"]
    assert values == {name: getattr(Settings(), name) for name in values}


def test_redis_is_a_cache_and_fits_its_pod() -> None:
    configuration = one("ConfigMap", "cpu", component="redis")["data"]["redis.conf"].splitlines()
    assert {'save ""', "appendonly no", "maxmemory 384mb"} <= set(configuration)
    pod = one("StatefulSet", "cpu", component="redis")["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["memory"] == "512Mi"
    assert "volumeClaimTemplates" not in one("StatefulSet", "cpu", component="redis")["spec"]


def test_training_runs_one_pod_a_node_that_find_each_other() -> None:
    job = one("Job", "training", component="training")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    arguments = pod["containers"][0]["args"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    assert "--nnodes=2" in arguments
    assert "--nproc-per-node=4" in arguments
    service = one("Service", "training", component="training")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    name = job["metadata"]["name"]
    assert f"--master-addr={name}-0.{pod['subdomain']}" in arguments
    assert pod["subdomain"] == service["metadata"]["name"]


def test_the_recipe_is_in_the_image() -> None:
    arguments = one("Job", "training", component="training")["spec"]["template"]["spec"]["containers"][0]["args"]
    recipe = arguments[arguments.index("run") + 1]
    assert "COPY training/recipes /recipes" in (ROOT / "docker" / "Dockerfile").read_text()
    assert (ROOT / "training" / recipe.removeprefix("/")).exists()


def test_the_load_test_may_call_the_service() -> None:
    pod = pod_of(one("Job", "load-test", component="load-test"))
    assert pod is not None
    client = pod["metadata"]["labels"].items()
    allowed = one("NetworkPolicy", "cpu")["spec"]["ingress"][0]["from"]
    assert any(peer.get("podSelector", {}).get("matchLabels", {"": ""}).items() <= client for peer in allowed)


def test_images_are_pinned() -> None:
    for values, manifest in every_manifest():
        if pod := pod_of(manifest):
            for container in containers(pod):
                image = container["image"]
                assert not image.endswith(":latest"), values
                assert "@sha256:" in image or image.startswith("anysound:0.1.0"), values
    assert service_container("cpu", f"image.digest=sha256:{'a' * 64}")["image"] == f"anysound@sha256:{'a' * 64}"
