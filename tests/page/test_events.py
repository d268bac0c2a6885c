"""Events: found, edited, exported."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect


@pytest.fixture
def row(page: Page, three_in_a_row: Path) -> Page:
    """The page with a crow, a choir and drums in a row, and the table of events open."""
    page.locator("#files").set_input_files(three_in_a_row)
    expect(page.locator(".recording")).to_have_attribute("data-settled", "true")
    page.locator(".events summary").click()
    return page


def exported(page: Page, format_: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=format_, exact=True).click()
    return Path(download.value.path()).read_bytes().decode()


def test_each_sound_is_an_event_and_a_region(row: Page) -> None:
    events = json.loads(exported(row, "JSON"))["events"]
    spans = {event["label"]: (event["start_s"], event["end_s"]) for event in events if event["score"] > 0.85}
    for place, label in enumerate(["crow", "choir", "drums"]):
        middle_s = sum(spans[label]) / 2
        assert 6 * place < middle_s < 6 * (place + 1), (label, spans)
    regions = row.locator(".wave [part^='region ']")
    expect(regions).to_have_count(len(events))


def test_an_edited_region_is_exported(row: Page) -> None:
    with row.expect_response("**/v1/classify"):
        row.get_by_label("Threshold", exact=True).fill("0.9")
    expect(row.locator(".recording")).not_to_have_attribute("aria-busy", "true")
    expect(row.locator(".events tbody tr")).not_to_have_count(0)
    first = row.locator(".events tbody tr").first
    label = first.get_by_label("Label").input_value()
    first.get_by_label(f"Start of {label}").fill("1.25")
    first.get_by_label(f"Start of {label}").press("Enter")
    row.locator(".events tbody tr").first.get_by_label("Label").fill("raven, loud")
    row.locator(".events tbody tr").first.get_by_label("Label").press("Enter")
    expect(row.locator(".wave [part^='region ']").filter(has_text="raven, loud")).to_have_count(1)

    rows = list(csv.DictReader(exported(row, "CSV").splitlines()))
    assert (rows[0]["recording"], rows[0]["label"], rows[0]["start_s"]) == ("three.wav", "raven, loud", "1.25")
    lines = exported(row, "Audacity").splitlines()
    assert lines[0].startswith("1.250000\t")
    assert lines[0].endswith("\traven, loud")
    assert len(lines) == len(rows) == len(json.loads(exported(row, "JSON"))["events"])


def test_a_region_moves_with_the_mouse_and_stays_as_it_was_left(row: Page) -> None:
    with row.expect_response("**/v1/classify"):
        row.get_by_label("Threshold", exact=True).fill("0.95")
    expect(row.locator(".recording")).not_to_have_attribute("aria-busy", "true")
    region = row.locator(".wave [part^='region ']").first
    region.scroll_into_view_if_needed()
    before = float(row.locator(".events tbody [aria-label^='Start']").first.input_value())
    box = region.bounding_box()
    assert box is not None
    row.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    row.mouse.down()
    row.mouse.move(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2, steps=4)
    row.mouse.up()
    expect(row.locator(".events-count")).to_contain_text("edited")
    starts = row.locator(".events tbody [aria-label^='Start']")
    moved = [float(starts.nth(place).input_value()) for place in range(starts.count())]
    assert moved != [before, *moved[1:]]
    row.get_by_label("Add labels").press_sequentially("owl")
    expect(row.locator(".recording .rows > li[data-label='owl']")).to_have_count(1)
    assert [float(starts.nth(place).input_value()) for place in range(starts.count())] == moved


def test_an_event_is_deleted_added_and_found_again(row: Page) -> None:
    lines = row.locator(".events tbody tr")
    count = lines.count()
    lines.first.get_by_role("button").click()
    expect(lines).to_have_count(count - 1)
    row.get_by_role("button", name="Add", exact=True).click()
    row.get_by_role("button", name="Add", exact=True).click()
    expect(lines).to_have_count(count + 1)
    row.get_by_role("button", name="Back to what was found").click()
    expect(lines).to_have_count(count)
