"""What the distribution declares: dependencies, types, one version."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from tests.test_architecture import imports

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHIPPED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "only-include"
]
PACKAGES = [name for name in SHIPPED if not name.endswith(".py")]
EXTRAS = {
    "anysound": ["listen"],
    "service": ["traces"],
    "training": ["train", "datasets", "wandb"],
    "bulk": ["bulk", "ray"],
    "benchmarks": ["bench", "bulk", "ray"],
}
"""The optional dependencies that a package may import beside the required ones."""


def canonical(name: str) -> str:
    """A distribution's name without its version and extras, as PyPI compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name)[0]).lower()


def declared(extras: list[str]) -> set[str]:
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return {canonical(name) for group in groups for name in group}


@pytest.mark.parametrize("shipped", SHIPPED)
def test_what_is_imported_is_declared(shipped: str) -> None:
    ours = {path.stem for path in ROOT.iterdir()}
    files = [ROOT / shipped] if shipped.endswith(".py") else (ROOT / shipped).rglob("*.py")
    found = {name.split(".")[0] for path in files if "peers" not in path.parts for name in imports(path)}
    distributions = packages_distributions()
    known = declared(EXTRAS.get(shipped, []))
    for module in found - ours - set(sys.stdlib_module_names) - {"_typeshed"}:
        # An extra that is not installed here is known by its own name.
        named = distributions.get(module, [module])
        assert known & {canonical(name) for name in named}, f"{shipped} imports {module}"


def test_every_dependency_has_an_exact_version() -> None:
    pinned = {canonical(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert declared(["traces", "train", "bench", "lint", "bulk", "ray", "s3"]) - {"anysound"} <= pinned


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def test_there_is_one_version() -> None:
    version = PROJECT["version"]
    chart = yaml.safe_load((ROOT / "k8s" / "anysound" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == version
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert set(re.findall(r"\b\d+\.\d+\.\d+\b(?=\n|-cuda| \.)", dockerfile)) <= {version}
    assert f"ARG VERSION={version}" in dockerfile
