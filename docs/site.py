"""Writes the pages of the documentation's site: those of docs/, and the reference, which is made of the code.

`python docs/site.py FOLDER`; `make docs` then builds the site of them with Zensical.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from anysound import app as command
from service.api.app import create_app
from service.api.worker_metrics import WorkerCollector
from service.ipc.client import WorkerClient
from service.observe.metrics import REGISTRY
from service.settings import Settings

DOCS = Path(__file__).parent
ROOT = DOCS.parent
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://|#)([^)#\s]+)(#[^)]*)?\)")
PARSE_THEMSELVES = ("serve", "bench", "bulk", "evaluate")
"""Subcommands whose options typer does not know."""


def write(folder: Path) -> None:
    """Write every page into `folder`."""
    for page in sorted(DOCS.rglob("*.md")):
        target = folder / page.relative_to(DOCS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(inside(page.read_text(), page))
    shutil.copytree(DOCS / "images", folder / "images", dirs_exist_ok=True)
    (folder / "index.md").write_text(inside((ROOT / "README.md").read_text(), ROOT / "README.md"))
    reference = folder / "reference"
    reference.mkdir(exist_ok=True)
    app = create_app(Settings(), WorkerClient(["ipc:///nowhere"]))
    (reference / "http.md").write_text("\n".join(operations(app.openapi())))
    (reference / "metrics.md").write_text("\n".join(metrics()))
    (reference / "command.md").write_text("\n".join(commands()))


def inside(text: str, page: Path) -> str:
    """A page whose links lead to other pages of the site; files of the repository are named by their path instead."""

    def link(match: re.Match[str]) -> str:
        words, target, anchor = match[1], (page.parent / match[2]).resolve(), match[3] or ""
        if target.is_relative_to(DOCS):
            start = DOCS if page.parent == ROOT else page.parent
            return f"[{words}]({relative(target, start)}{anchor})"
        path = str(target.relative_to(ROOT))
        return f"`{path}`" if words == path else f"{words} (`{path}`)"

    return LINK.sub(link, text)


def relative(target: Path, start: Path) -> str:
    """The path from a folder to a file, with slashes."""
    ups = 0
    while not target.is_relative_to(start):
        start, ups = start.parent, ups + 1
    return "../" * ups + target.relative_to(start).as_posix()


def table(*columns: str) -> list[str]:
    """The head of a table."""
    return ["", row(*columns), row(*["---"] * len(columns))]


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def operations(document: dict[str, Any]) -> Iterator[str]:
    """The HTTP operations, from the OpenAPI document."""
    yield "# HTTP operations"
    yield "\nMade of `/openapi.json`. [The HTTP contract](../http.md) says what the fields mean."
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"\n## `{method.upper()} {path}`\n"
            yield f"{operation['summary']}."
            yield f"\n{operation['description']}" if "description" in operation else ""
            if parameters := operation.get("parameters"):
                yield from table("parameter", "in", "type", "")
                for each in parameters:
                    said = each.get("description") or each["schema"].get("description", "")
                    yield row(f"`{each['name']}`", each["in"], kind(each["schema"]), said)
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                schema = content["schema"]
                schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
                yield f"\nBody `{media_type}`" + (":" if schema.get("properties") else f": {kind(schema)}")
                if properties := schema.get("properties"):
                    yield from table("member", "type", "required", "")
                    required = schema.get("required", [])
                    for name, member in properties.items():
                        needed = "yes" if name in required else ""
                        yield row(f"`{name}`", kind(member), needed, member.get("description", ""))
            yield from table("status", "")
            for status, answer in sorted(operation["responses"].items(), key=lambda item: str(item[0])):
                yield row(status, answer["description"])


def kind(schema: dict[str, Any]) -> str:
    """The type of a JSON schema in words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if branches := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(dict.fromkeys(kind(branch) for branch in branches if branch != {"type": "null"}))
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    return str(schema.get("type", "any")) + (f" ({schema['format']})" if "format" in schema else "")


def metrics() -> Iterator[str]:
    """The metrics, from the registry and from the collector of the workers' counters."""
    yield "# Metrics"
    yield "\n`GET /metrics` has these metrics, besides those of the Python client library."
    yield from table("metric", "type", "labels", "")
    # Without a value, collect() does not give the labels.
    counted: list[Any] = list(REGISTRY._collector_to_names)
    rows = [(each._name, each._type, each._labelnames, each._documentation) for each in counted]
    workers = WorkerCollector(WorkerClient(["ipc:///nowhere"]), draining=False).collect()
    rows += [(each.name, each.type, getattr(each, "_labelnames", ()), each.documentation) for each in workers]
    for name, type_, labels, documentation in sorted(rows):
        total = "_total" if type_ == "counter" else ""
        yield row(f"`{name}{total}`", type_, ", ".join(f"`{label}`" for label in labels), documentation)


def commands() -> Iterator[str]:
    """The subcommands and their options, from the command itself."""
    yield "# The command"
    yield "\n`anysound SUBCOMMAND --help` shows the same."
    group = typer.main.get_command(command)
    yield from subcommands(group, "anysound")


def subcommands(group: Any, path: str) -> Iterator[str]:
    """The sections of a group of commands."""
    for name, each in sorted(group.commands.items()):
        if hasattr(each, "commands"):
            yield from subcommands(each, f"{path} {name}")
            continue
        yield f"\n## `{path} {name}`\n"
        yield re.sub(r"\s+", " ", each.help or "")
        if name in PARSE_THEMSELVES and path == "anysound":
            yield f"\n`{path} {name} --help` lists its options" + (
                "; [Settings](../settings.md) has them too." if name == "serve" else "."
            )
            continue
        yield from table("option", "default", "")
        for parameter in each.params:
            names = ", ".join(f"`{option}`" for option in parameter.opts)
            default = parameter.default
            shown = "" if default is None or callable(default) or default == () else f"`{default}`"
            yield row(names, shown, getattr(parameter, "help", None) or "")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
