"""The image and the compose file as far as no daemon is needed; `make image-test` builds and runs the image."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.deploy.chart import ROOT, one

DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


def stages() -> dict[str, str]:
    """Name and text of each stage."""
    found = re.split(r"^FROM (\S+) AS (\S+)\n", DOCKERFILE, flags=re.MULTILINE)[1:]
    return dict(zip(found[1::3], found[2::3], strict=True))


def test_every_base_is_an_argument_with_a_digest() -> None:
    assert re.search(r"^ARG BASE_IMAGE=\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, flags=re.MULTILINE)
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE))
    assert bases == {"${BASE_IMAGE}", "build", "runtime"}


def test_both_targets_take_only_the_installed_files_from_a_build_stage() -> None:
    for target in ("cpu", "cuda"):
        assert f"COPY --from=build-{target} /opt/anysound /opt/anysound\n" in stages()[target]
    assert "pip install" not in stages()["runtime"]
    assert "COPY" not in stages()["runtime"]


@pytest.mark.usefixtures("helm")
def test_the_image_and_the_pod_agree() -> None:
    runtime = stages()["runtime"]
    user = re.search(r"^USER (\d+):(\d+)$", runtime, flags=re.MULTILINE)
    assert user is not None
    security = one("Deployment", "minimal")["spec"]["template"]["spec"]["securityContext"]
    assert [int(group) for group in user.groups()] == [security["runAsUser"], security["runAsGroup"]]
    assert 'ENTRYPOINT ["anysound"]\nCMD ["serve"]' in runtime
    container = one("Deployment", "minimal")["spec"]["template"]["spec"]["containers"][0]
    assert (container.get("command"), container["args"]) == (None, ["serve"])
    exposed = re.search(r"^EXPOSE (.+)$", runtime, flags=re.MULTILINE)
    assert exposed is not None
    assert exposed[1].split() == [str(port["containerPort"]) for port in container["ports"]]


def test_the_image_can_train_run_over_collections_and_send_traces() -> None:
    """Its requirements are written by the Dockerfile's own line of Python."""
    script = re.search(r"python3 -c '(.*?)' > requirements.txt", DOCKERFILE, flags=re.DOTALL)
    assert script is not None
    command = [sys.executable, "-c", script[1].replace("\\\n", "")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {*extras["train"], *extras["traces"], *extras["bulk"]} <= set(done.stdout.splitlines())


def test_soundfile_uses_the_systems_library() -> None:
    assert DOCKERFILE.count("pip install --no-binary soundfile") == 2
    assert "libsndfile1" in stages()["runtime"]


def test_every_variable_is_a_setting() -> None:
    environment = SERVICES["anysound"]["environment"]
    named = set(re.findall(r"ANYSOUND_[A-Z_]+", stages()["runtime"])) | environment.keys()
    assert named <= {f"ANYSOUND_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_listens_on_this_machine_alone(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "10001:10001"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert not service["image"].endswith(":latest")
    for volume in service.get("volumes", []):
        source, _, mode = volume.split(":")
        assert (DOCKER / source).exists(), volume
        assert mode == "ro"


def test_compose_gives_the_service_the_time_to_drain() -> None:
    service = SERVICES["anysound"]
    assert int(service["stop_grace_period"].removesuffix("s")) >= float(service["environment"]["ANYSOUND_DRAIN_S"]) + 5


def test_prometheus_takes_its_configuration_and_scrapes_the_metrics_port(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_bytes((ROOT / "k8s" / "anysound" / "files" / "rules.yaml").read_bytes())
    configuration = (DOCKER / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(configuration)
    subprocess.run([promtool, "check", "config", str(tmp_path / "prometheus.yml")], check=True, capture_output=True)
    target = yaml.safe_load(configuration)["scrape_configs"][0]["static_configs"][0]["targets"][0]
    assert target == f"anysound:{SERVICES['anysound']['environment']['ANYSOUND_METRICS_PORT']}"


def test_the_builder_gets_nothing_but_what_the_wheel_is_made_of() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    for name in (line.removeprefix("!") for line in lines if line.startswith("!")):
        assert (ROOT / name).exists(), name


def test_the_wheel_holds_the_command_and_every_part() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    held = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    command = project["project"]["scripts"]["anysound"].partition(":")[0]
    assert {command, "model", "service", "training", "evaluation"} <= set(held)
