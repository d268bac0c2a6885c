"""Kubernetes and its operators accept what the chart renders, and ignore no key of it."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor
from pydantic import BaseModel

from tests.deploy.chart import CHART, RENDERED, VALUES, Manifest, every_manifest, helm, manifests, rendered

pytestmark = pytest.mark.usefixtures("helm")

VERSIONS = ("1.30", "1.33", "1.35", "1.37")
MODELS: dict[str, type[BaseModel]] = {
    "keda.sh/v1alpha1/ScaledObject": ScaledObject,
    "monitoring.coreos.com/v1/ServiceMonitor": ServiceMonitor,
    "monitoring.coreos.com/v1/PrometheusRule": PrometheusRule,
}


def kind_of(manifest: Manifest) -> str:
    return f"{manifest['apiVersion']}/{manifest['kind']}"


def lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """Keys of `given` that a model did not take over: it ignores what it does not know."""
    if isinstance(given, dict):
        if not isinstance(kept, dict):
            return [path]
        gone = [f"{path}.{key}" for key in given if key not in kept]
        return gone + [name for key in given if key in kept for name in lost(given[key], kept[key], f"{path}.{key}")]
    if isinstance(given, list):
        if not isinstance(kept, list) or len(kept) != len(given):
            return [path]
        return [name for n, item in enumerate(given) for name in lost(item, kept[n], f"{path}[{n}]")]
    return []


def check_custom(manifest: Manifest) -> None:
    """Raise ValueError unless the operator's model knows every key and takes every value."""
    model = MODELS[kind_of(manifest)].model_validate(manifest)
    gone = lost(manifest, model.model_dump(by_alias=True, exclude_unset=True, mode="json"))
    if gone:
        raise ValueError(f"unknown keys: {gone}")


def check(manifest: Manifest, version: str) -> None:
    """Raise unless that version of Kubernetes, or an operator, takes the manifest; also for a kind nobody knows."""
    if kind_of(manifest) in MODELS:
        check_custom(manifest)
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("values", VALUES)
def test_helm_finds_nothing_to_say(values: str) -> None:
    helm("lint", "--strict", "-f", str(VALUES[values]), str(CHART))


@pytest.mark.parametrize("values", VALUES)
def test_the_plain_manifests_are_what_the_chart_renders(values: str) -> None:
    written = (RENDERED / f"{values}.yaml").read_text()
    assert written == rendered(values), "k8s/rendered has drifted: make manifests"


def test_there_are_no_other_plain_manifests() -> None:
    assert {path.stem for path in RENDERED.glob("*.yaml")} == set(VALUES)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(version: str) -> None:
    for values, manifest in every_manifest():
        try:
            check(manifest, version)
        except Exception as error:  # noqa: BLE001 - said with the manifest's name
            pytest.fail(f"{values}: {kind_of(manifest)} {manifest['metadata']['name']}: {error}")


def test_a_misspelt_key_of_kubernetes_is_found() -> None:
    deployment = next(each for each in manifests("minimal") if each["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        check(deployment, VERSIONS[-1])


def test_a_misspelt_key_of_an_operator_is_found() -> None:
    monitor = next(each for each in manifests("cpu") if each["kind"] == "ServiceMonitor")
    monitor["spec"]["endpoints"][0]["intervall"] = "1s"
    with pytest.raises(ValueError, match=r"spec\.endpoints\[0\]\.intervall"):
        check(monitor, VERSIONS[-1])


def test_a_kind_that_was_removed_is_found() -> None:
    budget = {**next(each for each in manifests("cpu") if each["kind"] == "PodDisruptionBudget")}
    budget["apiVersion"] = "policy/v1beta1"
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        check(budget, VERSIONS[-1])
