"""The arrows of the design: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"model", "training", "evaluation", "service"}
ALLOWED = {
    "model": set(),
    "training": {"model", "evaluation"},  # evaluation's zero-shot, for validation
    "evaluation": {"model"},
    "service": {"model"},
}
FOREIGN = {
    "model": {"fastapi", "starlette", "redis", "zmq"},
    "training": {"fastapi", "redis"},
    "evaluation": {"fastapi", "redis"},
}


def imports(path: Path) -> Iterator[str]:
    """Top-level names of what a module imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_imports_only_what_the_design_lets_it(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        found = set(imports(path))
        assert not found & PACKAGES - {package} - ALLOWED[package], path
        assert not found & FOREIGN.get(package, set()), path


@pytest.mark.parametrize("module", ["model.audio", "model.windows", "model.classify", "model.config", "service.app"])
def test_what_api_processes_import_does_not_load_torch(module: str) -> None:
    script = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, cwd=ROOT)
