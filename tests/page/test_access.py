"""Where the page is reached from: behind a prefix, with keys, over plain http."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.page.conftest import Guarded, Open


def test_a_service_with_keys_asks_for_one_and_forgets_it_with_the_tab(open_page: Open, guarded: Guarded) -> None:
    page = open_page(guarded.address)
    field = page.get_by_label("This service asks for a key")
    field.fill("a wrong key")
    field.press("Enter")
    expect(page.locator("#key-error")).to_contain_text("does not know")
    field.fill(guarded.key)
    field.press("Enter")
    expect(field).to_be_hidden()
    expect(page.locator("#model-name")).to_have_text("spectral")
    page.get_by_role("button", name="Crow", exact=True).click()
    expect(page.locator(".recording .rows > li")).to_have_count(10)
    expect(page.locator("#snippet")).to_contain_text("$ANYSOUND_KEY")
    expect(page.locator("#snippet")).not_to_contain_text(guarded.key)
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert guarded.key not in page.url


def test_over_plain_http_the_page_says_why_there_is_no_microphone(open_page: Open, elsewhere: str) -> None:
    page = open_page(elsewhere, permissions=[])
    expect(page.locator("#microphone-note")).to_contain_text("https")
    expect(page.get_by_role("button", name="Record")).to_be_disabled()
    expect(page.get_by_role("button", name="Listen live")).to_be_disabled()
    page.get_by_role("button", name="Choir", exact=True).click()
    expect(page.locator(".recording .verdict-label")).to_have_text("choir")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copy-note")).to_contain_text("selected")
    assert page.evaluate("String(getSelection())").startswith("curl -s")
