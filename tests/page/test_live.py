"""Live audio from the microphone, which hears a crow."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect


def test_what_the_microphone_hears_is_named_and_the_rest_is_greyed(page: Page) -> None:
    page.get_by_role("button", name="Listen live").click()
    live = page.locator(".live")
    expect(live.locator(".verdict-label")).to_have_text("crow")
    expect(live.locator("li[data-label='crow']")).not_to_have_class(re.compile("rejected"))
    expect(live.locator("li[data-label='rain']")).to_have_class(re.compile("rejected"))
    page.get_by_role("button", name="Keep the last minute").click()
    expect(page.locator(".recording .verdict-label")).to_have_text("crow")

    page.get_by_role("button", name="Clear").click()
    expect(live.get_by_role("alert")).to_contain_text("Add a label")
    page.get_by_label("Add labels").fill("raven")
    page.get_by_label("Add labels").press("Enter")
    expect(live.locator(".rows > li")).to_have_count(1)
    page.get_by_role("button", name="Stop live").click()
    expect(live).to_have_count(0)


def test_a_blocked_microphone_is_explained(page: Page) -> None:
    page.evaluate(
        """() => {
          navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", "NotAllowedError"); };
        }"""
    )
    page.get_by_role("button", name="Listen live").click()
    expect(page.locator("#source-error")).to_contain_text("blocked")
    expect(page.locator(".live")).to_have_count(0)
