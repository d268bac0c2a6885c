"""The snippets of the documentation do what they say, against a running service."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import node
from tests.conftest import ROOT
from tests.docs.blocks import blocks

ADDRESS = "http://127.0.0.1:8000"
DATABASE = "postgresql://localhost/sounds"
STORES = {"psycopg": ("psycopg", "pgvector", "pgserver"), "qdrant_client": ("qdrant_client",), "lancedb": ("lancedb",)}


def snippets(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return [block.text for block in blocks(ROOT / "docs" / page) if block.language == language]


def run(snippet: str, folder: Path, address: str) -> str:
    """What a snippet prints, run in `folder`, where the recordings are in `examples`."""
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(ROOT / "examples")
    snippet = snippet.replace(ADDRESS, address).replace(
        ADDRESS.removeprefix("http://"), address.removeprefix("http://")
    )
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", snippet]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("snippets")


@pytest.mark.parametrize("snippet", snippets("doors.md", "python"))
def test_a_door_answers_the_python_client_of_its_page(snippet: str, folder: Path, address: str) -> None:
    assert "crow" in run(snippet, folder, address)


@pytest.mark.parametrize("snippet", snippets("doors.md", "js"))
def test_a_door_answers_the_node_client_of_its_page(snippet: str, address: str) -> None:
    [package] = re.findall(r'^import .* from "([^":]+)";', snippet, re.MULTILINE)
    snippet = snippet.replace(ADDRESS, address).replace("examples/", f"{ROOT}/examples/")
    answer = node.run(snippet, package)
    if package == "openai":
        assert answer[1] == 512
    else:
        assert answer[0]["label"] == "crow"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL that has pgvector."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        from pgserver.postgres_server import get_server  # not installed by `make test`

        server = get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.mark.slow
@pytest.mark.parametrize(
    "snippet", snippets("pipelines.md", "python")[1:], ids=lambda each: each.split("import ")[-1][:20]
)
def test_a_recipe_finds_the_crow(snippet: str, folder: Path, address: str, request: pytest.FixtureRequest) -> None:
    [module, *_] = snippets("pipelines.md", "python")
    (folder / "embed.py").write_text(module.replace(ADDRESS, address))
    for store, packages in STORES.items():
        missing = [each for each in packages if importlib.util.find_spec(each) is None]
        if f"import {store}" in snippet or f"from {store}" in snippet:
            if missing:
                pytest.skip(f"{missing} not installed: pip install -c constraints.txt -e '.[test-pipelines]'")
            if store == "psycopg":
                snippet = snippet.replace(DATABASE, request.getfixturevalue("database"))
    printed = run(snippet, folder, address)
    best = next(line for line in printed.splitlines() if not line.startswith(("nearest pair", "most unlike")))
    assert "examples/crow.flac" in best
    if "psycopg" in snippet:  # a second run finds what the first has stored
        assert run(snippet, folder, address) == printed
