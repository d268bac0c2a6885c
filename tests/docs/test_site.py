"""The documentation's site builds, strictly, and its reference is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from model.checkpoint import fingerprint
from model.config import BUNDLED, ClapConfig
from model.hub import RELEASES
from service.observe.metrics import REGISTRY
from tests.conftest import ROOT
from training.recipe import Recipe


def test_no_link_leads_out_of_the_site(pages: Path) -> None:
    for page in (pages / "docs").rglob("*.md"):
        links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text())
        assert [link for link in links if not (page.parent / link).exists()] == [], page


def test_the_reference_has_every_operation_metric_and_command(pages: Path) -> None:
    reference = {page.stem: page.read_text() for page in (pages / "docs" / "reference").glob("*.md")}
    for operation in ("POST /v1/classify", "POST /hf", "POST /v2/models/{name}/infer", "GET /livez"):
        assert f"## `{operation}`" in reference["http"]
    for name in ("classify", "embed", "checkpoint import", "train run", "serve"):
        assert f"## `anysound {name}`" in reference["command"]
    for option in ("bulk`\n", "--none-of-these", "evaluate`\n", "--probe"):
        assert option in reference["command"]
    for family in REGISTRY.collect():
        assert f"| `{family.name}" in reference["metrics"]
    assert "| `anysound_queue_seconds` | gauge |" in reference["metrics"]


@pytest.mark.parametrize(("page", "whole"), [("checkpoint", ClapConfig), ("recipe", Recipe)])
def test_the_reference_has_every_member_of_a_config_and_of_a_recipe(
    pages: Path, page: str, whole: type[BaseModel]
) -> None:
    text = (pages / "docs" / "reference" / f"{page}.md").read_text()
    elsewhere = set(ClapConfig.model_json_schema()["$defs"]) if page == "recipe" else set()
    schema = whole.model_json_schema()
    for name, each in {whole.__name__: schema, **schema["$defs"]}.items():
        if name in elsewhere | {"ClapConfig"} and page == "recipe":
            continue
        assert each.get("description"), f"{name} has no docstring"
        assert each["description"] in text
        for member in each["properties"]:
            assert f"| `{member}` |" in text, f"{name}.{member}"


def test_the_pictures_of_the_concepts_show_the_bundled_checkpoint() -> None:
    said = "\n".join(page.read_text() for page in (ROOT / "docs" / "concepts").glob("*.md"))
    pictures = sorted((ROOT / "docs" / "images" / "concepts").glob("*.svg"))
    assert {path.name for path in pictures} == set(re.findall(r"images/concepts/([\w-]+\.svg)", said))
    for picture in pictures:
        assert fingerprint(BUNDLED) in picture.read_text(), f"{picture.name} is of another checkpoint: `make figures`"
        assert picture.stat().st_size < 100_000


def test_every_page_is_in_the_navigation(pages: Path) -> None:
    navigation = set(re.findall(r'"([\w/-]+\.md)"', (pages / "zensical.toml").read_text()))
    docs = pages / "docs"
    written = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")}
    assert navigation == written, "docs/zensical.toml lists every page"


def test_every_checkpoint_that_a_hub_id_names_can_be_chosen() -> None:
    page = (ROOT / "docs" / "choosing-a-checkpoint.md").read_text()
    short = re.search(r"`…@` stands for `(\S+@)`", page)
    page = page.replace("`…@", f"`{short[1]}") if short else page
    missing = [f"{hub}@{name}" for hub, names in RELEASES.items() for name in names if f"`{hub}@{name}`" not in page]
    assert missing == []


def test_every_module_that_a_page_names_exists() -> None:
    folders = "anysound|model|service|training|evaluation|bulk|benchmarks|client|tests|docs|k8s"
    named = {
        (page.name, path)
        for page in (*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md")
        for path in re.findall(rf"`((?:{folders})/[\w/.-]+\.(?:py|yaml|json|md))`", page.read_text())
    }
    assert len(named) > 50
    assert {(page, path) for page, path in named if not (ROOT / path).exists()} == set()


def test_every_runbook_is_in_their_index(pages: Path) -> None:
    runbooks = pages / "docs" / "runbooks"
    links = set(re.findall(r"\]\((Anysound\w+\.md)\)", (runbooks / "index.md").read_text()))
    assert links == {path.name for path in runbooks.glob("Anysound*.md")}
