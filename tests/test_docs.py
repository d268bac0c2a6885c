"""What the documentation says is what the code does."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.api.openapi import ANSWER_EXAMPLE
from service.settings import Settings
from tests.conftest import ROOT
from tests.docs.blocks import blocks


def test_the_tables_of_settings_are_those_of_the_class() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "site.py"))["settings"]()
    assert (ROOT / "docs" / "settings.md").read_text().endswith("\n" + written), "`make manifests` writes them"
    for name, field in Settings.model_fields.items():
        assert f"`ANYSOUND_{name.upper()}`" in written
        assert field.description, f"{name} has no description"


@pytest.mark.parametrize("page", sorted({ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")}))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def curls() -> list[str]:
    """The README's commands that ask the service, each up to the next empty line."""
    commands = [block.text for block in blocks(ROOT / "README.md") if block.language == "sh"]
    return [command for text in commands for command in text.split("\n\n") if "curl" in command]


@pytest.mark.parametrize("command", curls())
def test_a_curl_of_the_readme_gets_the_right_label_first(command: str, address: str) -> None:
    command = command.replace("http://127.0.0.1:8000", address)
    done = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    [result] = json.loads(done.stdout)["results"]
    heard = {"crow.flac": "crow", "speech.wav": "talk", "drums.flac": "drums"}
    [name] = [name for name in heard if name in command]
    assert result["scores"][0]["label"] == heard[name]


def examples() -> list[dict[str, Any]]:
    """The example answers of README.md, docs/http.md and the OpenAPI document."""
    [readme], [contract] = [
        [json.loads(block.text) for block in blocks(page) if block.language == "json" and '"results"' in block.text]
        for page in (ROOT / "README.md", ROOT / "docs" / "http.md")
    ]
    return [readme, contract, ANSWER_EXAMPLE]


def test_the_example_answer_is_the_same_everywhere() -> None:
    readme, contract, openapi = examples()
    assert readme == contract == openapi


def test_the_example_answer_is_what_the_service_answers(address: str) -> None:
    command = curls()[0].replace("http://127.0.0.1:8000", address)
    done = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    answer, example = json.loads(done.stdout), examples()[0]
    assert answer["model"]["fingerprint"].startswith(example["model"].pop("fingerprint").rstrip("…"))
    del answer["model"]["fingerprint"]
    [expected] = example.pop("results")
    [result] = answer.pop("results")
    assert answer == example
    scores = [(row["label"], row["score"], row["similarity"]) for row in expected.pop("scores")]
    heard = [(row["label"], row["score"], row["similarity"]) for row in result.pop("scores")]
    assert [label for label, *_ in heard] == [label for label, *_ in scores]
    for (_, *measured), (_, *printed) in zip(heard, scores, strict=True):
        assert measured == pytest.approx(printed, abs=1e-3)
    assert result.pop("duration_s") == pytest.approx(expected.pop("duration_s"), abs=1e-3)
    assert result == expected
