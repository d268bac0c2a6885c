"""The arrows of the design: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"anysound", "model", "training", "evaluation", "service"}
ALLOWED = {
    "anysound": {"model", "training", "evaluation", "service"},  # the command; no package imports it
    "model": set(),
    "training": {"model", "evaluation"},  # evaluation's zero-shot, for validation
    "evaluation": {"model"},
    "service": {"model"},
    "bulk": {"model"},
}
FOREIGN = {
    "model": {"fastapi", "starlette", "redis", "zmq"},
    "training": {"fastapi", "redis"},
    "evaluation": {"fastapi", "redis"},
    "bulk": {"fastapi", "starlette", "redis", "zmq"},
}

ROOMS = {
    "service": {
        "api": {"decoding", "cache", "ipc", "observe"},
        "decoding": {"observe"},
        "cache": {"ipc", "observe"},
        "ipc": {"observe"},
        "worker": {"ipc", "observe"},
        "observe": set(),
        "supervise": {"observe"},
    },
    "training": {
        "data": set(),
        "tagging": {"data"},
        "start": {"data", "tagging"},
        "loop": {"data", "start"},
        "bundled": {"data", "tagging", "loop"},
    },
}
"""Which rooms of a package a room may import. What lies in the package itself, every room may."""


def imports(path: Path) -> Iterator[str]:
    """Dotted names of the modules that a module imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_imports_only_what_the_design_lets_it(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        found = {name.split(".")[0] for name in imports(path)}
        assert not found & PACKAGES - {package} - ALLOWED[package], path
        assert not found & FOREIGN.get(package, set()), path


@pytest.mark.parametrize(("package", "room"), [(package, room) for package in ROOMS for room in ROOMS[package]])
def test_a_room_imports_only_the_rooms_the_design_lets_it(package: str, room: str) -> None:
    for path in (ROOT / package / room).rglob("*.py"):
        found = {name.split(".")[1] for name in imports(path) if name.startswith(f"{package}.")}
        assert not found & ROOMS[package].keys() - {room} - ROOMS[package][room], path


@pytest.mark.parametrize("package", sorted(ROOMS))
def test_what_every_room_may_use_knows_no_room(package: str) -> None:
    commands = {"command.py", "__main__.py"}
    for path in (ROOT / package).glob("*.py"):
        found = {name.split(".")[1] for name in imports(path) if name.startswith(f"{package}.")}
        assert path.name in commands or not found & ROOMS[package].keys(), path


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_the_modules_of_a_package_import_each_other_in_no_circle(package: str) -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / package).rglob("*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    arrows: dict[str, set[str]] = {}
    for module, path in modules.items():
        found = {name if name in modules else name.rpartition(".")[0] for name in imports(path)}
        # A package's `__init__` runs before its modules; what they import of it is no arrow back.
        arrows[module] = {name for name in found if name in modules and not f"{module}.".startswith(f"{name}.")}
    TopologicalSorter(arrows).prepare()


def test_the_client_needs_httpx_and_nothing_else() -> None:
    optional = {"numpy", "pandas", "tqdm", "websockets"}  # imported where they are used
    for path in (ROOT / "client").rglob("*.py"):
        found = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - optional
        assert found <= {"anysound_client", "httpx"}, path


@pytest.mark.parametrize(
    "module", ["model.audio", "model.windows", "model.classify", "model.config", "service.api.app"]
)
def test_what_api_processes_import_does_not_load_torch(module: str) -> None:
    script = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, cwd=ROOT)
