"""Writes what Zensical builds the site from: the pages of docs/, the reference, made of the code, and the settings.

`python docs/site.py FOLDER`; `make docs` then builds the site. Without a folder, it writes the tables of
docs/settings.md, which is read in the repository too (`make manifests`).
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any

import typer

from anysound import app as command
from benchmarks.__main__ import command_line
from bulk.command import app as bulk
from evaluation.command import app as evaluate
from model.checkpoint import CONFIG, TOKENIZER_FILES, WEIGHTS
from model.config import BUNDLED, ClapConfig
from service.api.app import create_app
from service.api.worker_metrics import WorkerCollector
from service.ipc.client import WorkerClient
from service.observe.metrics import REGISTRY
from service.settings import PREFIX, Settings
from training.recipe import RECIPES, Recipe

DOCS = Path(__file__).parent
ROOT = DOCS.parent
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://|#)([^)#\s]+)(#[^)]*)?\)")
APPS = {"bulk": bulk, "evaluate": evaluate}
"""Subcommands that are an application of their own."""
SECTIONS = {
    "model": "Model and device",
    "host": "Address",
    "cores": "Processes",
    "api_keys_file": "Access",
    "max_upload_bytes": "Bounds of a request",
    "max_label_sets": "Label sets",
    "max_streams": "Streams",
    "max_queue_seconds": "Queue and batches",
    "prompt_cache_size": "Caches",
    "request_timeout_s": "Time limits",
    "metrics_port": "Metrics, traces and logs",
}
"""The headings of docs/settings.md, by the setting that each begins with."""
MIB = 1 << 20


def write(folder: Path) -> None:
    """Write the configuration into `folder`, and every page into `folder`/docs."""
    configuration = (DOCS / "zensical.toml").read_text()
    (folder / "zensical.toml").write_text(configuration.replace("{version}", version("anysound")))
    folder = folder / "docs"
    for page in sorted(DOCS.rglob("*.md")):
        target = folder / page.relative_to(DOCS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(inside(page.read_text(), page))
    for notebook in DOCS.glob("tutorials/*.ipynb"):
        shutil.copy(notebook, folder / "tutorials")
    shutil.copytree(DOCS / "images", folder / "images", dirs_exist_ok=True)
    shutil.copy(DOCS / "site.css", folder)
    (folder / "index.md").write_text(inside((ROOT / "README.md").read_text(), ROOT / "README.md"))
    reference = folder / "reference"
    reference.mkdir(exist_ok=True)
    app = create_app(Settings(), WorkerClient(["ipc:///nowhere"]))
    (reference / "http.md").write_text("\n".join(operations(app.openapi())))
    (reference / "metrics.md").write_text("\n".join(metrics()))
    (reference / "command.md").write_text("\n".join(commands()))
    (reference / "checkpoint.md").write_text("\n".join(checkpoint_format()))
    (reference / "recipe.md").write_text("\n".join(recipe()))


def inside(text: str, page: Path) -> str:
    """A page whose links lead to other pages of the site; files of the repository are named by their path instead."""

    def link(match: re.Match[str]) -> str:
        words, target, anchor = match[1], (page.parent / match[2]).resolve(), match[3] or ""
        if target.is_relative_to(DOCS):
            start = DOCS if page.parent == ROOT else page.parent
            return f"[{words}]({relative(target, start)}{anchor})"
        path = str(target.relative_to(ROOT))
        if words.strip("`") == path:
            return f"`{path}`"
        in_parentheses = text[: match.start()].endswith("(")
        return f"{words}, `{path}`" if in_parentheses else f"{words} (`{path}`)"

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
    problems = [each for each in statuses(document["paths"]["/v1/classify"]["post"]) if "problem" in each[1]]
    yield "\n## Problems\n\nMost operations may answer with any of these:"
    yield from table("status", "")
    yield from (row(*each) for each in problems)
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
            answers = statuses(operation)
            if set(problems) <= set(answers):
                answers = [*(each for each in answers if each not in problems), ("4xx, 5xx", "[a problem](#problems)")]
            yield from (row(*each) for each in answers)


def statuses(operation: dict[str, Any]) -> list[tuple[str, str]]:
    """The statuses of an operation and what each means."""
    return sorted((str(status), answer["description"]) for status, answer in operation["responses"].items())


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


def values(schema: dict[str, Any]) -> str:
    """The values that a member may have: its type, its bounds and, of a class, a link to its table."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if branches := schema.get("oneOf") or schema.get("anyOf"):
        kinds = [values(branch) for branch in branches if branch != {"type": "null"}]
        return " or ".join(dict.fromkeys(kinds)) + (" or none" if {"type": "null"} in branches else "")
    if schema.get("type") == "array":
        each = schema.get("items") or {"oneOf": schema.get("prefixItems", [{}])}
        return f"list of {values(each)}" + (", not empty" if schema.get("minItems") else "")
    if schema.get("format") in ("path", "password"):
        return {"path": "path", "password": "text"}[schema["format"]]
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema]
    return ", ".join([kind(schema).replace("string", "text"), *bounds])


def members(schema: dict[str, Any]) -> Iterator[str]:
    """The members of a class, as a table."""
    yield from table("member", "value", "default")
    required = schema.get("required", [])
    for name, member in schema["properties"].items():
        default = member.get("default")
        shown = f"`{json.dumps(default, ensure_ascii=False)}`"
        if default in (None, "", [], {}) or isinstance(default, dict):
            shown = "**required**" if name in required else ""
        yield row(f"`{name}`", values(member), shown)


def classes(schema: dict[str, Any], left_out: Collection[str] = ()) -> Iterator[str]:
    """The tables of the classes that a schema refers to, in the order in which it does, with their docstrings."""
    definitions = schema.get("$defs", {})
    left, seen = [schema], set(left_out)
    while left:
        current = left.pop(0)
        for name in re.findall(r"#/\$defs/(\w+)", json.dumps(current["properties"])):
            if name in seen:
                continue
            seen.add(name)
            left.append(definitions[name])
            yield f"\n## {name}\n"
            yield definitions[name].get("description", "")
            yield from members(definitions[name])


def checkpoint_format() -> Iterator[str]:
    """The files of a checkpoint directory, and the members of its config."""
    schema = ClapConfig.model_json_schema()
    yield "# Checkpoint format"
    yield "\nA checkpoint is a directory with these files. Unknown members, keys and shapes are refused."
    yield from table("file", "")
    yield row(f"`{CONFIG}`", "the configuration: the tables below")
    yield row(f"`{WEIGHTS}`", "every weight that no Python package provides, in float32 or half precision")
    names = ", ".join(f"`{name}`" for name in TOKENIZER_FILES)
    yield row(names, "those that the tokenizer has; none if the text encoder comes from a package")
    yield row("`README.md`", "the model card; not read by the service")
    yield "\nThe fingerprint is a SHA-256 over all but the model card; `anysound checkpoint info DIR` prints it."
    yield f"[Checkpoints](../checkpoints.md) says how to get one.\n\n## {CONFIG}\n"
    yield schema["description"]
    yield from members(schema)
    yield from classes(schema)


def recipe() -> Iterator[str]:
    """The members of a training recipe, and the recipes of the project."""
    schema = Recipe.model_json_schema()
    yield "# Training recipes"
    yield "\nA recipe is a YAML file for `anysound train run RECIPE`. [Training](../training.md) has examples."
    yield from table("recipe", "")
    for path in sorted(RECIPES.glob("*.yaml")):
        comment = " ".join(
            line[1:].strip() for line in takewhile(lambda line: line[:1] == "#", path.read_text().splitlines())
        )
        yield row(f"`{path.name}`", re.split(r"(?<! al)\. ", comment)[0].rstrip(".") + ".")
    yield "\n## Recipe\n"
    yield schema["description"]
    yield from (line.replace("(#clapconfig)", "(checkpoint.md#configjson)") for line in members(schema))
    inside = ClapConfig.model_json_schema()["$defs"]
    yield from classes(schema, {"ClapConfig", *inside})


def settings() -> str:
    """The tables of docs/settings.md."""
    schema = Settings.model_json_schema()["properties"]
    lines = []
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            lines += [f"\n## {SECTIONS[name]}", *table("option, variable", "value", "default", "")]
        default = "" if field.default in (None, "", ()) else f"`{field.default}`"
        if isinstance(field.default, int) and field.default >= MIB:
            default = f"{field.default // MIB} MiB (`{field.default}`)"
        if field.default == str(BUNDLED):
            default = "bundled"
        flag = f"`--{name.replace('_', '-')}`"
        allowed = values(schema[name]).removesuffix(" or none")
        lines.append(row(f"{flag}<br>`{PREFIX}{name.upper()}`", allowed, default, field.description))
    return "\n".join(lines).strip() + "\n"


def write_settings(page: Path = DOCS / "settings.md") -> None:
    """Replace the tables of docs/settings.md, which begin with the first section."""
    prose = page.read_text().partition(f"## {SECTIONS['model']}")[0]
    page.write_text(prose + settings())


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
        if name in APPS and path == "anysound":
            each = typer.main.get_command(APPS[name])
        if path == "anysound" and name == "serve":  # typer does not know the options of these two
            yield "\n[Settings](../settings.md) has its options."
            continue
        if path == "anysound" and name == "bench":
            yield f"\n```text\n{command_line().format_help()}```"
            continue
        yield from table("option", "default", "")
        for parameter in each.params:
            names = ", ".join(f"`{option}`" for option in parameter.opts)
            default = parameter.default
            shown = "" if default is None or callable(default) or default == () else f"`{default}`"
            yield row(names, shown, getattr(parameter, "help", None) or "")


if __name__ == "__main__":
    write(Path(sys.argv[1])) if sys.argv[1:] else write_settings()
