"""The RayJob: Kubernetes takes its pods, KubeRay knows its keys, and the command takes its arguments."""

from __future__ import annotations

import shlex
from typing import Any

import kubernetes_validate
import pytest
import typer.main
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bulk.command import app
from tests.deploy.chart import ROOT

JOB: dict[str, Any] = yaml.safe_load((ROOT / "k8s" / "bulk" / "rayjob.yaml").read_text())


class Strict(BaseModel):
    """The keys that the job uses, as KubeRay's types name them (ray-operator/apis/ray/v1, v1.5.0)."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Group(Strict):
    rayStartParams: dict[str, str]  # noqa: N815
    template: dict[str, Any]


class Workers(Group):
    groupName: str  # noqa: N815
    replicas: int = Field(ge=0)
    minReplicas: int = Field(ge=0)  # noqa: N815
    maxReplicas: int = Field(ge=0)  # noqa: N815


class Cluster(Strict):
    rayVersion: str  # noqa: N815
    headGroupSpec: Group  # noqa: N815
    workerGroupSpecs: list[Workers]  # noqa: N815


class Spec(Strict):
    entrypoint: str
    backoffLimit: int = Field(ge=0)  # noqa: N815
    shutdownAfterJobFinishes: bool  # noqa: N815
    ttlSecondsAfterFinished: int = Field(ge=0)  # noqa: N815
    rayClusterSpec: Cluster  # noqa: N815


def test_kuberay_knows_its_keys() -> None:
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    Spec.model_validate(JOB["spec"])
    with pytest.raises(ValidationError, match="backofLimit"):
        Spec.model_validate({**JOB["spec"], "backofLimit": 1})


def test_kubernetes_takes_its_pods() -> None:
    cluster = JOB["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, **group["template"]}
        kubernetes_validate.validate(pod, "1.37", strict=True)


def test_the_command_takes_its_arguments() -> None:
    program, subcommand, *arguments = shlex.split(JOB["spec"]["entrypoint"])
    assert (program, subcommand) == ("anysound", "bulk")
    command = typer.main.get_command(app)
    context = command.make_context("bulk", arguments)
    assert context.params["ray"] == "auto"
    workers = JOB["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    cpus = float(workers["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"])
    assert cpus % context.params["actor_cpus"] == 0


def test_the_version_of_ray_is_the_one_that_is_installed() -> None:
    pinned = (ROOT / "constraints.txt").read_text().split()
    assert f"ray=={JOB['spec']['rayClusterSpec']['rayVersion']}" in pinned
