"""A recording in, its answer out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page.sounds import EXAMPLES, example, write

WHERE_IT_IS = """canvas => {
  const {data, width} = canvas.getContext("2d").getImageData(0, 0, canvas.width, 1);
  const light = (at) => 0.2126 * data[at] + 0.7152 * data[at + 1] + 0.0722 * data[at + 2];
  const thirds = [0, 0, 0];
  for (let x = 0; x < width; x += 1) thirds[Math.min(2, Math.floor((3 * x) / width))] += 255 - light(4 * x);
  return thirds.indexOf(Math.max(...thirds));
}"""
"""Which third of a lane has the most ink; in the light theme a high score is dark."""


def row(page: Page, label: str) -> Locator:
    return page.locator(f".recording .rows > li[data-label='{label}']")


def test_one_click_on_an_example_gives_the_right_answer(page: Page) -> None:
    page.get_by_role("button", name="Crow", exact=True).click()
    expect(page.locator(".recording .verdict-label")).to_have_text("crow")
    expect(page.locator(".recording .rows > li").first).to_have_attribute("data-label", "crow")


def test_each_of_several_files_gets_its_answer(page: Page) -> None:
    page.locator("#files").set_input_files([EXAMPLES / "choir.flac", EXAMPLES / "speech.wav"])
    expect(page.locator(".recording .verdict-label")).to_have_text(["choir", "speech"])
    page.get_by_role("button", name="Remove choir.flac").click()
    expect(page.locator(".recording .recording-name")).to_have_text(["speech.wav"])


def test_the_heat_map_is_darkest_where_the_sound_is(page: Page, three_in_a_row: Path) -> None:
    page.locator("#files").set_input_files(three_in_a_row)
    expect(page.locator(".recording .rows > li")).to_have_count(10)
    expect(page.locator(".recording")).to_have_attribute("data-windows", re.compile(r"\d\d"))
    for third, label in enumerate(["crow", "choir", "drums"]):
        assert row(page, label).locator("canvas").evaluate(WHERE_IT_IS) == third, label


def test_a_click_on_the_heat_map_seeks_and_the_keyboard_plays(page: Page, three_in_a_row: Path) -> None:
    page.locator("#files").set_input_files(three_in_a_row)
    slider = page.get_by_role("slider", name="Position in three.wav")
    expect(page.get_by_role("button", name="Play three.wav")).to_be_enabled()
    lane = row(page, "crow").locator("canvas")
    lane.scroll_into_view_if_needed()
    box = lane.bounding_box()
    assert box is not None
    lane.click(position={"x": box["width"] / 2, "y": 5})
    assert float(slider.get_attribute("aria-valuenow") or 0) == pytest.approx(9, abs=0.3)
    slider.press("ArrowRight")
    assert float(slider.get_attribute("aria-valuenow") or 0) == pytest.approx(10, abs=0.3)
    slider.press("Space")
    expect(page.get_by_role("button", name="Pause three.wav")).to_be_visible()


def test_a_file_that_is_no_recording_is_explained_in_its_card(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("This is text, and no recording of anything at all. " * 20)
    page.locator("#files").set_input_files([tmp_path / "notes.wav", EXAMPLES / "crow.flac"])
    cards = page.locator(".recording")
    expect(cards.first.get_by_role("alert").first).to_contain_text("audio")
    expect(cards.last.locator(".verdict-label")).to_have_text("crow")


def test_a_recording_that_the_browser_cannot_play_is_classified(page: Page, tmp_path: Path) -> None:
    page.locator("#files").set_input_files(write(tmp_path / "speech.aiff", example("speech.wav", 2.5)))
    expect(page.locator(".recording .verdict-label")).to_have_text("speech")
    expect(page.locator(".recording .undecodable")).to_contain_text("cannot play")


def test_dropped_files_are_taken(page: Page) -> None:
    data = page.evaluate_handle(
        """async () => {
          const data = new DataTransfer();
          data.items.add(new File([await (await fetch("page/examples/drums.flac")).blob()], "dropped.flac"));
          return data;
        }"""
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": data})
    expect(page.locator("#drop-veil")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    expect(page.locator("#drop-veil")).to_be_hidden()
    expect(page.locator(".recording .verdict-label")).to_have_text("drums")


def test_a_recording_from_the_microphone_is_classified(page: Page) -> None:
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("button", name="Stop 0:01")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".recording .verdict-label")).to_have_text("crow")
