"""KServe accepts k8s/kserve.yaml, and ignores no key of it."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.test_schemas import VERSIONS
from tests.node import TOOLS
from tests.test_packaging import PROJECT, ROOT

MODELS = TOOLS / "kserve" / "models"
PLAIN: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "object": object,
}
POD = {"containers", "volumes", "securityContext", "enableServiceLinks", "automountServiceAccountToken"}
POD |= {"terminationGracePeriodSeconds"}
"""Members of a predictor that are those of a pod: Kubernetes' own schema has them."""


@pytest.fixture(autouse=True)
def models() -> None:
    if not MODELS.exists():
        pytest.skip(f"the models of the package kserve are not in {MODELS}: tests/tools.sh brings them")


@pytest.fixture
def service() -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((ROOT / "k8s" / "kserve.yaml").read_text())
    return manifest


@cache
def members(model: str) -> dict[str, str] | None:
    """The type of each JSON member of a model, from the code that is generated of KServe's CRD; None if it has none.

    It is read and not imported: the package needs versions of its dependencies that differ from the project's.
    """
    path = MODELS / f"{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', model).lower()}.py"
    if not path.exists():
        return None
    found: dict[str, dict[str, str]] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("openapi_types", "attribute_map"):
                found[name] = ast.literal_eval(node.value)
    return {found["attribute_map"][name]: kind for name, kind in found["openapi_types"].items()}


def faults(value: Any, kind: str, path: str = "") -> list[str]:
    """Keys that a type does not have, and values that it does not take. Kubernetes' own types are not looked into."""
    if kind in PLAIN:
        return [] if isinstance(value, PLAIN[kind]) else [f"{path}: not a {kind}"]
    if listed := re.fullmatch(r"list\[(.*)\]", kind):
        return [fault for n, item in enumerate(value) for fault in faults(item, listed[1], f"{path}[{n}]")]
    known = members(kind)
    if known is None:
        return []
    unknown = [f"{path}.{key}: unknown" for key in value if key not in known]
    return unknown + [
        fault for key in value if key in known for fault in faults(value[key], known[key], f"{path}.{key}")
    ]


def test_kserve_knows_every_key(service: dict[str, Any]) -> None:
    assert faults(service, "V1beta1InferenceService") == []


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_pod(service: dict[str, Any], version: str) -> None:
    predictor = service["spec"]["predictor"]
    pod = {name: value for name, value in predictor.items() if name in POD}
    assert "containers" in pod
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "anysound"}, "spec": pod}
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("place", ["spec", "predictor", "container"])
def test_a_misspelt_key_is_found(service: dict[str, Any], place: str) -> None:
    predictor = service["spec"]["predictor"]
    {"spec": service["spec"], "predictor": predictor, "container": predictor["containers"][0]}[place]["imagge"] = "x"
    if place == "container":
        with pytest.raises(kubernetes_validate.ValidationError, match="imagge"):
            test_kubernetes_takes_the_pod(service, VERSIONS[-1])
    else:
        assert len(faults(service, "V1beta1InferenceService")) == 1


def test_a_value_of_another_type_is_found(service: dict[str, Any]) -> None:
    service["spec"]["predictor"]["maxReplicas"] = "four"
    assert faults(service, "V1beta1InferenceService") == [".spec.predictor.maxReplicas: not a int"]


def test_it_runs_the_image_of_this_version(service: dict[str, Any]) -> None:
    [container] = service["spec"]["predictor"]["containers"]
    assert container["image"] == f"anysound:{PROJECT['version']}"
