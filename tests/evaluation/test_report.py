"""The report says what was measured, in three forms, and the page needs nothing from anywhere else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from evaluation import plots
from evaluation.calibration import reliability
from evaluation.command import app
from evaluation.published import HEAR, PUBLISHED, SOURCES
from evaluation.tasks import SUITES, TASKS
from tests.evaluation.layouts import LAYOUTS, audiocaps, clotho


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """The report of a few data sets of every kind, with every option."""
    folder = tmp_path_factory.mktemp("report")
    for name in ("esc50", "dcase2017-task4", "beijing-opera", "crema-d"):
        LAYOUTS[name](folder / "data" / name)
    clotho(folder / "data/clotho")
    audiocaps(folder / "data/audiocaps")
    (folder / "data/esc50/ESC-50-master/audio/5-181766-A-10.wav").unlink()
    options = ["--probe", "frozen-1", "--seeds", "2", "--prompts", "--report", folder / "out", "--no-keep"]
    options += ["--examples", "1", "--examples", "2", "--draws", "3"]
    done = CliRunner().invoke(app, [*map(str, ["--data", folder / "data", *options, "--model", tiny_folder])])
    assert done.exit_code == 0, done.output
    return folder / "out"


def test_figures_with_examples_are_in_all_three_forms(report: Path) -> None:
    [esc50] = [task for task in json.loads((report / "report.json").read_text())["tasks"] if task["task"] == "esc50"]
    assert [(each["count"], len(each["draws"])) for each in esc50["examples"]] == [(0, 1), (1, 3), (2, 3)]
    assert esc50["examples"][0]["draws"][0]["figure"] == pytest.approx(esc50["figures"]["accuracy"])
    text = (report / "report.md").read_text()
    assert "## With examples" in text
    assert "not calibrated for examples" in text
    page = (report / "report.html").read_text()
    assert 'aria-label="accuracy by number of examples"' in page
    assert "1 examples" in page


def test_every_task_of_the_paper_has_its_published_figures() -> None:
    assert set(PUBLISHED) == set(SUITES["paper"])
    assert set(HEAR) <= set(TASKS)
    assert {name for one in PUBLISHED.values() for name in one.others} == set(SOURCES) - {"CLAP 2022"}
    assert all(0 <= figure <= 1 for one in PUBLISHED.values() for figure in one.others.values())
    assert PUBLISHED["gtzan-music-speech"].best == ("CLAP 2022", 1.0)


def test_json_holds_everything(report: Path) -> None:
    made = json.loads((report / "report.json").read_text())
    tasks = {task["task"]: task for task in made["tasks"]}
    assert set(tasks) == {"esc50", "dcase2017-task4", "beijing-opera", "crema-d"}
    assert tasks["dcase2017-task4"]["threshold"] == 0.5
    assert tasks["dcase2017-task4"]["confusion"] is None
    assert np.sum(tasks["esc50"]["confusion"]) == tasks["esc50"]["clips"] == 11
    assert np.shape(tasks["esc50"]["supervised"]["frozen-1"]["figures"]) == (2, 5)
    assert tasks["esc50"]["published"]["paper_zero_shot"] == 0.826
    assert tasks["esc50"]["published"]["others_zero_shot"]["LAION-CLAP"] == 0.910
    assert {one["task"] for one in made["retrieval"]} == {"clotho", "audiocaps"}


def test_markdown_has_the_same_figures_beside_the_paper_s(report: Path) -> None:
    made = {task["task"]: task for task in json.loads((report / "report.json").read_text())["tasks"]}
    text = (report / "report.md").read_text()
    assert f"| ESC-50 (part) | 4 | 11 | accuracy | **{made['esc50']['figures']['accuracy']:.3f}**" in text
    assert "| 0.826 | " in text
    assert "- ESC-50 (part): 0.955 SLAP, 0.949 MGA-CLAP, " in text
    assert "1 not on disk: 5-181766-A-10.wav" in text
    assert "## Retrieval" in text
    assert "## Prompts" in text


def test_markdown_tables_have_as_many_cells_in_every_row(report: Path) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", (report / "report.md").read_text(), re.MULTILINE):
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


class Page(HTMLParser):
    """Collects what a browser would ask of others, and whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag in ("script", "link", "img", "iframe") or "src" in values:
            self.asked.append(tag)
        if (link := values.get("href") or "").startswith("#"):
            self.links.add(link[1:])
        if identity := values.get("id"):
            self.ids.add(identity)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass


def test_the_page_stands_alone(report: Path) -> None:
    parser = Page()
    text = (report / "report.html").read_text()
    parser.feed(text)
    assert parser.asked == []
    assert parser.open == []
    assert parser.links <= parser.ids
    assert not re.search(r"url\(|@import|https?://", text.replace("http://www.w3.org/2000/svg", ""))


def test_a_picture_is_sound_xml_and_names_are_escaped() -> None:
    names = ("<b>", 'a "b" & c', "rain")
    counts = np.array([[3, 1, 0], [0, 2, 2], [1, 0, 5]])
    scores = reliability(np.array([0.1, 0.5, 0.9]), np.array([False, True, True]))
    for picture in (
        plots.confusion(counts, names),
        plots.bars(dict(zip(names, (0.1, 0.5, 1.0), strict=True)), 1 / 3, "recall"),
        plots.reliability(scores, "softmax"),
        plots.ladder(0.4, {"chance": 0.1, "paper": 0.3, "best": 1.0}),
    ):
        root = ElementTree.fromstring(picture)  # noqa: S314
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        for element in root.iter("rect"):
            assert (
                -1
                <= float(element.attrib["x"])
                <= float(element.attrib["x"]) + float(element.attrib["width"])
                <= width + 1
            )
            assert float(element.attrib["y"]) + float(element.attrib["height"]) <= height + 1


def test_very_many_classes_are_shown_from_both_ends() -> None:
    picture = plots.bars({f"class {n}": n / 527 for n in range(527)}, None, "average precision")
    assert picture.count('class="name"') == plots.MAX_BARS
    assert "class 0<" in picture
    assert "class 526<" in picture
    assert plots.confusion(np.eye(200, dtype=np.int64), [str(n) for n in range(200)]) == ""
