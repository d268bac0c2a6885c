"""The chart as Helm renders it. `python -m tests.deploy.chart` writes k8s/rendered, for those without Helm.

It also takes the service's settings over into values.schema.json.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from service.settings import Settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "k8s" / "anysound"
RENDERED = ROOT / "k8s" / "rendered"
TOOLS = Path(sys.prefix) / "tools"
VALUES = {path.stem: path for path in sorted((ROOT / "k8s" / "values").glob("*.yaml"))}

Manifest = dict[str, Any]


def tool(name: str) -> str | None:
    """A program on PATH or among those that tests/tools.sh brought."""
    return shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}{TOOLS}")


class Refused(Exception):
    """Helm rendered nothing; the message is what it said."""


def helm(*arguments: str) -> str:
    program = tool("helm")
    assert program is not None
    run = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if run.returncode:
        said = run.stderr.strip() or run.stdout.strip()
        raise Refused(said.removesuffix("Use --debug flag to render out invalid YAML").strip())
    return run.stdout


def set_flag(setting: str) -> str:
    """`--set` takes 0.5 for a string."""
    try:
        json.loads(setting.partition("=")[2])
    except ValueError:
        return "--set"
    return "--set-json"


@cache
def rendered(values: str, *settings: str, release: str = "anysound") -> str:
    """The text of `helm template` with a file of k8s/values, and `--set` arguments."""
    sets = [argument for setting in settings for argument in (set_flag(setting), setting)]
    return helm("template", release, str(CHART), "--namespace", "anysound", "-f", str(VALUES[values]), *sets)


def manifests(values: str, *settings: str) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(rendered(values, *settings)) if manifest]


def every_manifest() -> Iterator[tuple[str, Manifest]]:
    for values in VALUES:
        for manifest in manifests(values):
            yield values, manifest


def one(kind: str, values: str, *settings: str, component: str = "service") -> Manifest:
    found = [
        manifest
        for manifest in manifests(values, *settings)
        if manifest["kind"] == kind and manifest["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    assert len(found) == 1, f"{len(found)} of {kind} {component} with {values}"
    return found[0]


def pod_of(manifest: Manifest) -> Manifest | None:
    """The pod template of a workload."""
    template: Manifest | None = manifest.get("spec", {}).get("template")
    return template


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


CHARTS_OWN = {"model", "host", "port", "metrics_port", "api_keys_file", "drain_s"}
CHARTS_OWN |= {"redis_url", "redis_password_file", "redis_ca_file"}
"""Settings that the chart makes from other values."""
NARROWER = {"device": {"type": "string", "pattern": "^(auto|cpu|cuda(:[0-9]+)?(,cuda:[0-9]+)*)$"}}
WORDS = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "items")


def settings_schema() -> dict[str, Any]:
    """JSON schema of each setting that is a value of the chart, as the service has it."""
    known = {}
    for name, field in Settings.model_json_schema()["properties"].items():
        if name not in CHARTS_OWN:
            given = next((each for each in field.get("anyOf", []) if each["type"] != "null"), field)
            known[name] = NARROWER.get(name, {word: given[word] for word in WORDS if word in given})
    return known


def take_over_settings() -> None:
    """Rewrite the chart's schema where the service has other settings."""
    path = CHART / "values.schema.json"
    schema = json.loads(path.read_text())
    schema["properties"]["settings"]["properties"] = settings_schema()
    path.write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    take_over_settings()
    RENDERED.mkdir(exist_ok=True)
    for name in VALUES:
        (RENDERED / f"{name}.yaml").write_text(rendered(name))
